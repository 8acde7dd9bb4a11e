//! `quipu cert`: certificates for TLS, by an authority of one's own.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context as _;
use quipu_core::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::{Answer, Context};
use crate::cli::{CertArgs, CertVerb};
use crate::output::{Value, fact};
use crate::report::Refusal;

/// How many years an authority lasts.
const AUTHORITY_YEARS: i32 = 10;
/// How many years a server's or a client's certificate lasts.
const CERTIFICATE_YEARS: i32 = 2;

pub(crate) fn run(args: &CertArgs, context: &mut Context) -> anyhow::Result<Answer> {
    match &args.verb {
        CertVerb::Init { dir, hosts } => init(dir, hosts, context),
        CertVerb::Client { name, dir } => client(dir, name, context),
    }
}

fn init(dir: &Path, hosts: &[String], context: &mut Context) -> anyhow::Result<Answer> {
    fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let hosts: Vec<String> = own.into_iter().chain(hosts.iter().cloned()).collect();
    let mut server = params("quipu server", hosts, CERTIFICATE_YEARS)
        .context("a host is neither a name nor an address")?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];

    let mut authority = params("quipu authority", Vec::new(), AUTHORITY_YEARS)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    write_key(&dir.join("ca-key.pem"), &authority_key)?;
    write_new(&dir.join("ca.pem"), &authority_certificate.pem(), 0o644)?;

    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    write_key(&dir.join("server-key.pem"), &key)?;
    write_new(&dir.join("server.pem"), &certificate.pem(), 0o644)?;
    print(dir, &["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"], context)
}

fn client(dir: &Path, name: &str, context: &mut Context) -> anyhow::Result<Answer> {
    let is_fit = |it: char| it.is_ascii_alphanumeric() || ".-@_".contains(it);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(is_fit) {
        let message = "a name has 1 to 64 letters, digits, dots, hyphens, @ and underscores";
        return Err(Refusal(message.to_owned()).into());
    }
    let read = |file: &str| {
        let path = dir.join(file);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let authority_key = KeyPair::from_pem(&read("ca-key.pem")?).context("ca-key.pem is no key")?;
    // What is taken of the authority's certificate is its name, which `init` gave it.
    let mut authority = params("quipu authority", Vec::new(), AUTHORITY_YEARS)?;
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = Issuer::new(authority, authority_key);
    let mut client = params(name, Vec::new(), CERTIFICATE_YEARS)?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = client.signed_by(&key, &issuer)?;
    let (certificate_file, key_file) = (format!("{name}.pem"), format!("{name}-key.pem"));
    write_key(&dir.join(&key_file), &key)?;
    write_new(&dir.join(&certificate_file), &certificate.pem(), 0o644)?;
    print(dir, &[&certificate_file, &key_file], context)
}

fn params(name: &str, hosts: Vec<String>, years: i32) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = jiff::Timestamp::from_microsecond(Timestamp::now().as_micros()).unwrap_or_default();
    let today = jiff::tz::Offset::UTC.to_datetime(now).date();
    // From yesterday on: clocks differ. The first of a month exists in each year.
    let since = today.yesterday().unwrap_or(today);
    let day = |date: jiff::civil::Date, years: i32, day: i8| {
        let month = u8::try_from(date.month()).unwrap_or(1);
        date_time_ymd(i32::from(date.year()) + years, month, u8::try_from(day).unwrap_or(1))
    };
    params.not_before = day(since, 0, since.day());
    params.not_after = day(today, years, 1);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn write_key(path: &Path, key: &KeyPair) -> anyhow::Result<()> {
    write_new(path, &key.serialize_pem(), 0o600)
}

/// Writes a file that is not there yet: a key that is in use must not be lost.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already; remove it first", path.display());
            return Err(Refusal(message).into());
        }
        opened => opened.with_context(|| format!("could not make {}", path.display()))?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("could not write {}", path.display()))
}

fn print(dir: &Path, files: &[&str], context: &mut Context) -> anyhow::Result<Answer> {
    for file in files {
        let path = dir.join(file).display().to_string();
        context.output.facts(&[fact("file", Value::Text(path))])?;
    }
    Ok(Answer::Yes)
}
