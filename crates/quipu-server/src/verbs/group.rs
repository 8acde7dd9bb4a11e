//! `quipu group`: consumer groups of a server.

use std::time::Duration;

use anyhow::Context as _;
use futures_lite::future::{self, block_on};
use quipu_core::{EventBatch, Position};
use quipu_groups::GiveUp;
use quipu_groups::group::{
    GroupConfig, GroupEnd, GroupError, GroupStatus, KeyBy, Strategy, give_up_name, strategy_name,
};
use quipu_wire::{Dispatched, Groups, Member};

use super::{Answer, Context};
use crate::cli::{
    Format, GroupArgs, GroupConsumeArgs, GroupCreateArgs, GroupGiveUp, GroupStrategy, GroupVerb,
    GroupWhich,
};
use crate::interrupt::Interrupt;
use crate::open::Store;
use crate::output::{
    Align, Column, EventPrinter, Fact, Table, Value, fact, group_digits, note, plain,
};
use crate::report::Refusal;

const GROUPS: &[Column] = &[
    Column { title: "name", align: Align::Left },
    Column { title: "strategy", align: Align::Left },
    Column { title: "key", align: Align::Left },
    Column { title: "checkpoint", align: Align::Right },
    Column { title: "lag", align: Align::Right },
    Column { title: "parked", align: Align::Right },
    Column { title: "members", align: Align::Right },
];

const MEMBERS: &[Column] = &[
    Column { title: "member", align: Align::Left },
    Column { title: "principal", align: Align::Left },
    Column { title: "in flight", align: Align::Right },
    Column { title: "capacity", align: Align::Right },
    Column { title: "total", align: Align::Right },
];

const PARKED: &[Column] = &[
    Column { title: "position", align: Align::Right },
    Column { title: "key", align: Align::Left },
    Column { title: "cause", align: Align::Left },
];

pub(crate) fn run(args: &GroupArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let Store::There(client) = context.target.for_reading()? else {
        return Err(Refusal("groups are run by a server: give its --url".to_owned()).into());
    };
    let groups = client.groups();
    let done = match &args.verb {
        GroupVerb::Create(args) => create(args, &groups),
        GroupVerb::List => list(context, &groups),
        GroupVerb::Info(args) => info(context, &groups, &args.name),
        GroupVerb::Consume(args) => consume(context, &groups, args),
        GroupVerb::Parked(args) => parked(context, &groups, &args.name),
        GroupVerb::Replay(which) => replay(&groups, which),
        GroupVerb::Drop(which) => drop_parked(&groups, which),
        GroupVerb::Delete(args) => block_on(groups.delete(&args.name)).map_err(Into::into),
    };
    done.map_err(refused).map(|()| Answer::Yes)
}

/// That there is no such group, or one already, is an answer and no failure.
fn refused(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<GroupError>() {
        Some(error @ (GroupError::Unknown { .. } | GroupError::Exists { .. })) => {
            Refusal(error.to_string()).into()
        }
        _ => error,
    }
}

fn create(args: &GroupCreateArgs, groups: &Groups) -> anyhow::Result<()> {
    let usual = GroupConfig::new(&args.name, args.queries.query());
    let mut on_error = usual.on_error;
    on_error.retries = args.retries;
    on_error.give_up = match args.give_up {
        GroupGiveUp::Park => GiveUp::Park,
        GroupGiveUp::Skip => GiveUp::Skip,
        GroupGiveUp::Retry => GiveUp::Stop,
    };
    let config = GroupConfig {
        after: args.after.map_or(Position::START, Position::new),
        key: args.key_tag.clone().map_or(KeyBy::Stream, KeyBy::Tag),
        strategy: match args.strategy {
            GroupStrategy::ByKey => Strategy::ByKey,
            GroupStrategy::RoundRobin => Strategy::RoundRobin,
            GroupStrategy::DispatchToSingle => Strategy::DispatchToSingle,
            GroupStrategy::Pinned => Strategy::Pinned,
        },
        timeout: (args.timeout > 0).then(|| Duration::from_secs(args.timeout)),
        on_error,
        member_count_max: args.members,
        ..usual
    };
    if args.from_end {
        block_on(groups.create_from_end(&config))?;
    } else {
        block_on(groups.create(&config))?;
    }
    Ok(())
}

fn key_text(config: &GroupConfig) -> String {
    match &config.key {
        KeyBy::Stream => "stream".to_owned(),
        KeyBy::Tag(prefix) => format!("tag {prefix}:"),
    }
}

fn list(context: &mut Context, groups: &Groups) -> anyhow::Result<()> {
    let mut table = Table::new(GROUPS);
    for config in block_on(groups.list())? {
        let status = match block_on(groups.status(&config.name)) {
            Ok(status) => status,
            // Deleted since it was listed.
            Err(GroupError::Unknown { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        if context.output.format() == Format::Jsonl {
            context.output.object(&facts(&status))?;
        } else {
            let members = status.running.as_ref().map_or(0, |run| run.members.len());
            table.push(vec![
                plain(&config.name).into_owned(),
                strategy_name(config.strategy).to_owned(),
                plain(&key_text(&config)).into_owned(),
                status.checkpoint.to_string(),
                group_digits(status.lag),
                group_digits(status.parked_count),
                members.to_string(),
            ]);
        }
    }
    Ok(context.output.table(&mut table)?)
}

fn facts(status: &GroupStatus) -> Vec<Fact> {
    let (config, run) = (&status.config, status.running.as_ref());
    let text = |text: &str| Value::Text(text.to_owned());
    let count = |number: usize| Value::Count(number as u64);
    let timeout = config.timeout.map(|timeout| timeout.as_secs_f64());
    vec![
        fact("name", text(&config.name)),
        fact("state", text(run.map_or("idle", |run| run.state.as_str()))),
        fact("strategy", text(strategy_name(config.strategy))),
        fact("key", Value::Text(key_text(config))),
        fact("checkpoint", Value::Place(status.checkpoint.get())),
        fact("lag", Value::Count(status.lag)),
        fact("in_flight", count(run.map_or(0, |run| run.counts.in_flight))),
        fact("parked", Value::Count(status.parked_count)),
        fact("members", count(run.map_or(0, |run| run.members.len()))),
        fact("timeout_seconds", timeout.map_or(Value::Nothing, Value::Number)),
        fact("retries", Value::Count(config.on_error.retries.into())),
        fact("give_up", text(give_up_name(config.on_error.give_up))),
        fact(
            "last_error",
            run.and_then(|run| run.last_error.as_deref()).map_or(Value::Nothing, text),
        ),
    ]
}

fn info(context: &mut Context, groups: &Groups, name: &str) -> anyhow::Result<()> {
    let status = block_on(groups.status(name))?;
    context.output.facts(&facts(&status))?;
    if context.output.format() == Format::Jsonl {
        return Ok(());
    }
    let mut table = Table::new(MEMBERS);
    for member in status.running.iter().flat_map(|run| &run.members) {
        table.push(vec![
            plain(&member.name).into_owned(),
            plain(&member.principal).into_owned(),
            member.in_flight.to_string(),
            member.capacity.to_string(),
            group_digits(member.total),
        ]);
    }
    Ok(context.output.table(&mut table)?)
}

fn consume(context: &mut Context, groups: &Groups, args: &GroupConsumeArgs) -> anyhow::Result<()> {
    let interrupt =
        Interrupt::on_signal().context("could not watch for signals")?.or_closed_output();
    let mut printer = EventPrinter::new();
    let mut left = args.limit.unwrap_or(u64::MAX);
    loop {
        let member = block_on(groups.join(&args.name, &args.member, args.capacity));
        let mut member = member.with_context(|| format!("could not join \"{}\"", args.name))?;
        let consumed = consume_as(&mut member, &mut left, &interrupt, &mut printer, context);
        // This process may end next, and with it what was said and not heard yet.
        block_on(member.leave());
        if !consumed? {
            return Ok(());
        }
        note("the group begins anew: joining again");
    }
}

/// Consumes until none are left or the user interrupts; `true` if the group begins anew before.
fn consume_as(
    member: &mut Member,
    left: &mut u64,
    interrupt: &Interrupt,
    printer: &mut EventPrinter,
    context: &mut Context,
) -> anyhow::Result<bool> {
    while *left > 0 {
        let interrupted = async {
            interrupt.wait().await;
            None
        };
        let next = future::or(interrupted, async { Some(member.next().await) });
        let dispatched = match block_on(next) {
            None => return Ok(false),
            Some(Err(GroupError::Ended(GroupEnd::Renewed))) => return Ok(true),
            Some(dispatched) => dispatched?,
        };
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(dispatched.len());
        let (wanted, _) = dispatched.split_at(count);
        print(wanted, printer, context)?;
        *left -= count as u64;
        block_on(member.ack(wanted.iter().map(|it| it.number)))?;
    }
    Ok(false)
}

fn print(
    dispatched: &[Dispatched],
    printer: &mut EventPrinter,
    context: &mut Context,
) -> anyhow::Result<()> {
    let batch: EventBatch = dispatched.iter().map(|it| &it.event).collect();
    printer.print(&batch, &mut context.output)?;
    Ok(printer.flush(&mut context.output)?)
}

fn parked(context: &mut Context, groups: &Groups, name: &str) -> anyhow::Result<()> {
    let mut table = Table::new(PARKED);
    for item in block_on(groups.parked(name))? {
        if context.output.format() == Format::Jsonl {
            context.output.object(&[
                fact("position", Value::Place(item.position.get())),
                fact("key", Value::Text(item.key)),
                fact("cause", Value::Text(item.cause)),
            ])?;
        } else {
            table.push(vec![
                item.position.to_string(),
                plain(&item.key).into_owned(),
                plain(&item.cause).into_owned(),
            ]);
        }
    }
    Ok(context.output.table(&mut table)?)
}

fn replay(groups: &Groups, which: &GroupWhich) -> anyhow::Result<()> {
    let count = block_on(groups.replay(&which.name, which.position.map(Position::new)))?;
    note(&format!("{} are tried again", count_of(count)));
    Ok(())
}

fn drop_parked(groups: &Groups, which: &GroupWhich) -> anyhow::Result<()> {
    let count = block_on(groups.drop_parked(&which.name, which.position.map(Position::new)))?;
    note(&format!("{} are forgotten", count_of(count)));
    Ok(())
}

fn count_of(count: u64) -> String {
    format!("{} parked events", group_digits(count))
}
