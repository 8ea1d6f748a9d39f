//! A name service that says what a test wants.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use framewright::net::egress::NameLookup;
use parking_lot::Mutex;

/// Names and what they lead to, one answer after the other; the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// Names with one answer each: addresses, apart by spaces.
    pub(crate) fn of(names: &[(&str, &str)]) -> Arc<Self> {
        let answers = names.iter().map(|(name, answer)| ((*name).to_owned(), VecDeque::from([addresses(answer)])));
        Arc::new(Self { answers: Mutex::new(answers.collect()), asked: Mutex::default() })
    }

    /// A name with several answers.
    pub(crate) fn flipping(name: &str, answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| addresses(answer)).collect();
        Arc::new(Self { answers: Mutex::new(HashMap::from([(name.to_owned(), answers)])), asked: Mutex::default() })
    }

    /// The names that were looked up.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// A name service that never answers.
#[derive(Debug)]
pub(crate) struct Silence;

#[async_trait::async_trait]
impl NameLookup for Silence {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

fn addresses(answer: &str) -> Vec<IpAddr> {
    answer.split_whitespace().map(|address| address.parse().unwrap()).collect()
}

#[async_trait::async_trait]
impl NameLookup for Names {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().push(name.to_owned());
        let mut answers = self.answers.lock();
        let queue = answers.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        if queue.len() > 1 {
            return Ok(queue.pop_front().unwrap_or_default());
        }
        Ok(queue.front().cloned().unwrap_or_default())
    }
}
