//! Proxies that the environment names are not used: they would look up names themselves.

use std::process::Stdio;

use tokio::process::Command;

use crate::VICTIM;
use crate::server::{Reply, Server};

/// Tests of this program that call servers, for users and for the operator.
const CALLERS: [&str; 2] =
    ["bodies::bodies_up_to_the_limit_come_whole", "upstream::an_operators_own_address_is_trusted_with_paths_below_it"];

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let proxy = Server::start((VICTIM, 0), |_| Reply::ok("from the proxy")).await.unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--exact").args(CALLERS).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.url(""));
    }
    let output = command.env("NO_PROXY", "").env("no_proxy", "").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("2 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(proxy.connections().await, 0);
}
