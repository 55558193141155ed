//! A store behind an authority of one's own: everything over TLS, by the real binary.

use std::process::Command;

use crate::lab::{Lab, plain_source, run, same};
use crate::s3;

/// A command on a place of the server over TLS, without an authority.
fn command(lab: &Lab, place: &str, verb: &str, arguments: &[&str]) -> Command {
    let credentials = s3::credentials_file();
    let mut command = lab.command(verb, &[place], &["--endpoint", &s3::https_endpoint()]);
    command.args(["--credentials-file".as_ref(), credentials.as_os_str()]).args(arguments);
    command.env_remove("AWS_CA_BUNDLE").env_remove("SSL_CERT_FILE");
    command
}

fn place() -> String {
    let options = s3::options();
    format!("s3://{}/{}", options.bucket, options.prefix)
}

#[test]
fn s3_over_tls_takes_keeps_and_gives_back_a_tree() {
    let lab = Lab::new();
    let source = lab.path("source");
    plain_source(&source);
    let (place, ca) = (place(), s3::ca_file());
    let ca = ca.to_str().expect("plain");
    run(&mut command(&lab, &place, "init", &["--ca-file", ca])).exits(0);
    run(&mut command(&lab, &place, "backup", &["--ca-file", ca, source.to_str().expect("plain")])).exits(0);
    run(&mut command(&lab, &place, "verify", &["--ca-file", ca, "--deep"])).exits(0);
    // The variable that other tools know does the same, and so does the URL.
    let to = lab.path("back");
    let mut restore = command(&lab, &place, "restore", &["latest", "--to", to.to_str().expect("plain")]);
    run(restore.env("AWS_CA_BUNDLE", ca)).exits(0);
    same(&source, &to);
    run(&mut command(&lab, &format!("{place}?ca_file={ca}"), "snapshots", &[])).exits(0);
}

#[test]
fn s3_over_tls_without_the_authority_fails_at_once_and_says_what_to_do() {
    let lab = Lab::new();
    plain_source(&lab.path("source"));
    let place = place();
    let said = run(&mut command(&lab, &place, "init", &[])).exits(1);
    assert!(said.err.contains("E0112") && said.err.contains("--ca-file"), "{said:#?}");
    assert!(said.err.to_lowercase().contains("certificate"), "{said:#?}");
    // A file that is no authority's is a matter of the command line.
    let password = lab.path("password");
    let said = run(&mut command(&lab, &place, "init", &["--ca-file", password.to_str().expect("plain")]));
    let said = said.exits(2);
    assert!(said.err.contains(password.to_str().expect("plain")), "{said:#?}");
    assert!(!said.err.contains("correct horse"), "{said:#?}");
}
