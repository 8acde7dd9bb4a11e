//! Users and work on the server. The last call stops it.

use std::time::Duration;

use kurrentdb::operations::{
    Client, OperationalOptions, ScavengeStatus, StatsOptions, UserDetails,
};
use kurrentdb::{ClientSettings, Credentials, Error};

use crate::{Outcome, name, refused};

async fn details(client: &Client, login: &str) -> Outcome<UserDetails> {
    let mut found = client.user_details(login, &Default::default()).await?;
    Ok(found.next().await?.expect("the user is there"))
}

/// What a user may change who shows this password.
fn showing(login: &str, password: &str) -> OperationalOptions {
    let (login, password) = (login.to_owned(), password.to_owned());
    OperationalOptions::default().authenticated(Credentials::new(login, password))
}

async fn users(client: &Client, is_secure: bool) -> Outcome {
    let (login, options) = (name("user"), Default::default());
    let groups = vec!["$ops".to_owned()];
    client.create_user(&login, "first password", "Ada L.", groups.clone(), &options).await?;
    refused(client.create_user(&login, "first password", "Ada L.", groups, &options).await);
    let found = details(client, &login).await?;
    assert_eq!((&*found.login, &*found.full_name, found.disabled), (&*login, "Ada L.", false));
    assert_eq!(found.groups, ["$ops"]);

    client.update_user(&login, "", "Ada Lovelace", Vec::new(), &options).await?;
    let found = details(client, &login).await?;
    assert_eq!((&*found.full_name, found.groups.len()), ("Ada Lovelace", 0));
    client.disable_user(&login, &options).await?;
    assert!(details(client, &login).await?.disabled);
    client.enable_user(&login, &options).await?;
    assert!(!details(client, &login).await?.disabled);

    client.reset_user_password(&login, "second password", &options).await?;
    let wrong = client.change_user_password(&login, "first password", "x", &options).await;
    refused(wrong);
    let own = if is_secure { showing(&login, "second password") } else { Default::default() };
    client.change_user_password(&login, "second password", "third password", &own).await?;
    if is_secure {
        let forbidden = client.delete_user(&login, &showing(&login, "third password")).await;
        assert!(matches!(refused(forbidden), Error::AccessDenied));
        let stale = client.delete_user(&login, &showing(&login, "second password")).await;
        assert!(matches!(refused(stale), Error::AccessDenied));
    }
    client.delete_user(&login, &options).await?;
    for absent in [
        client.delete_user(&login, &options).await,
        client.enable_user(&login, &options).await,
        client.reset_user_password(&login, "fourth password", &options).await,
    ] {
        let error = refused(absent);
        assert!(matches!(error, Error::ResourceNotFound), "{error}");
    }
    Ok(())
}

async fn operations(client: &Client, is_secure: bool) -> Outcome {
    let options = OperationalOptions::default();
    // It asks by HTTP, where it does not look at the authority that it was given.
    if !is_secure {
        assert_eq!(client.read_gossip().await?.len(), 1);
    }
    let every = StatsOptions::default().refresh_time(Duration::from_millis(200));
    let mut stats = client.stats(&every).await?;
    for _ in 0..2 {
        assert!(!stats.next().await?.0.is_empty());
    }
    client.merge_indexes(&options).await?;
    client.resign_node(&options).await?;
    client.set_node_priority(1, &options).await?;
    client.restart_persistent_subscriptions(&options).await?;
    let scavenge = client.start_scavenge(1, 0, &options).await?;
    assert_eq!(scavenge.status(), ScavengeStatus::Started);
    let stopped = client.stop_scavenge(scavenge.id(), &options).await?;
    assert_eq!((stopped.id(), stopped.status()), (scavenge.id(), ScavengeStatus::Stopped));
    let unknown = refused(client.stop_scavenge("no such scavenge", &options).await);
    assert!(matches!(unknown, Error::ResourceNotFound), "{unknown}");
    client.shutdown(&options).await?;
    Ok(())
}

pub async fn play(url: &str) -> Outcome {
    let settings = url.parse::<ClientSettings>()?;
    let is_secure = settings.is_secure_mode_enabled();
    let client = Client::new(settings)?;
    users(&client, is_secure).await?;
    operations(&client, is_secure).await
}
