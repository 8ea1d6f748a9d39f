//! One binary of tests that run the server's own pieces together.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cli_provider;
#[cfg(test)]
#[cfg(unix)]
mod cli_server;
#[cfg(test)]
mod cli_video;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile_models;
#[cfg(test)]
mod outside;
#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "what is not needed here the executor's own tests use")]
#[path = "../support/providers/mod.rs"]
mod providers;
#[cfg(test)]
mod routes;
