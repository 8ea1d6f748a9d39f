//! Done when: a thousand ask at once for the last hundred pictures of a quota, and exactly a hundred get one.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::order;
use crate::support::database::Store;
use crate::support::http::{Connection, request};
use crate::support::server::Server;
use crate::support::trial;

const ASKING: usize = 1000;
const LEFT: usize = 100;
/// Threads of the trial do next to nothing.
const STACK_BYTES: usize = 128 << 10;

#[test]
fn a_thousand_ask_for_the_last_hundred_on_sqlite() {
    let _alone = trial::alone();
    race(&Store::Sqlite, 1);
}

#[test]
fn a_thousand_ask_for_the_last_hundred_on_postgresql_and_two_servers() {
    let _alone = trial::alone();
    if let Some(store) = Store::postgres("quota race on PostgreSQL") {
        race(&store, 2);
    }
}

fn race(store: &Store, number: usize) {
    let directory = tempfile::tempdir().unwrap();
    let outputs = directory.path().join("outputs");
    // Nothing completes meanwhile; what is reserved counts as used.
    let yaml = format!(
        "gpu_pool: {{devices: [fake], fake: {{step_ms: 60000}}}}\nstorage: {{type: local, base_path: {}}}\n",
        outputs.display()
    );
    let mut servers: Vec<Server> = (0..number)
        .map(|index| Server::new(&directory.path().join(format!("server-{index}")), &yaml, &store.variables()))
        .collect();
    for server in &mut servers {
        server.write("users/anna.yaml", &format!("quotas: {{images_per_day: {}}}\n", LEFT + 5));
        server.start();
    }
    let administrator = servers[0].administrator();
    let key = administrator.make_key("anna");
    // Some of the day is used already.
    let client = administrator.with_key(&key);
    for _ in 0..5 {
        client.submit(&order("used already"));
    }
    let (ready, begun) = (Barrier::new(ASKING), Instant::now());
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |index: usize| {
            let (address, ready, key) = (servers[index % number].address(), &ready, &key);
            let body = order(&format!("asked by {index}"));
            thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || {
                    let mut connection = Connection::open(address, Duration::from_mins(2)).expect("a connection");
                    let bytes = request("POST", "/api/v1/images/generate", Some(key), None, Some(&body));
                    ready.wait();
                    let answer = connection.call(&bytes).expect("an answer");
                    if answer.status == 429 {
                        assert!(
                            answer.header("retry-after").is_some() && answer.text().contains("images_per_day"),
                            "{}",
                            answer.text()
                        );
                    }
                    answer.status
                })
                .expect("a thread")
        };
        let asking: Vec<_> = (0..ASKING).map(ask).collect();
        asking.into_iter().map(|thread| thread.join().expect("it was answered")).collect()
    });
    let mut tally = BTreeMap::new();
    for status in statuses {
        *tally.entry(status).or_insert(0) += 1;
    }
    trial::say(&format!("quota race on {store}, {number} servers: {tally:?} within {:.1} s", begun.elapsed().as_secs_f64()));
    assert_eq!(tally, BTreeMap::from([(202, LEFT), (429, ASKING - LEFT)]));
    assert_eq!(administrator.usage("user=anna")["images"], (LEFT + 5) as i64);
    assert_eq!(client.tasks().len(), LEFT + 5);
}
