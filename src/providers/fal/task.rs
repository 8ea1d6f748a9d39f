//! A task's addresses, as the create gave them. They are what its id is here: nothing else leads to it.

use serde_json::Value;
use url::Url;

use crate::providers::body::identifier;
use crate::providers::wire::Account;

/// Most bytes of an address.
const MOST_ADDRESS_BYTES: usize = 1024;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// How far the task is.
    Status,
    /// Its results.
    Response,
    /// Its cancellation.
    Cancel,
}

/// A task's own id and its addresses, all on the account's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    request: String,
    status: Url,
    response: Url,
    cancel: Url,
}

impl Addresses {
    /// Those in the answer to a create; none where one is missing or leads to another host, which must not see the key.
    pub(super) fn of(body: &Value, account: &Account) -> Option<Self> {
        let address = |name: &str| owned(body[name].as_str()?, account);
        Some(Self {
            request: identifier(&body["request_id"])?,
            status: address("status_url")?,
            response: address("response_url")?,
            cancel: address("cancel_url")?,
        })
    }

    /// Those that an id holds.
    pub(super) fn read(id: &str, account: &Account) -> Option<Self> {
        let mut words = id.split(' ');
        let request = words.next().and_then(|word| identifier(&Value::from(word)))?;
        let mut address = || owned(words.next()?, account);
        let (status, response, cancel) = (address()?, address()?, address()?);
        words.next().is_none().then_some(Self { request, status, response, cancel })
    }

    /// The task's own id in one that holds its addresses.
    pub(super) fn request_of(id: &str) -> &str {
        id.split(' ').next().unwrap_or(id)
    }

    /// As an id. Addresses hold no spaces: those were encoded when they were read.
    pub(super) fn id(&self) -> String {
        format!("{} {} {} {}", self.request, self.status, self.response, self.cancel)
    }

    pub(super) fn url(&self, address: Address) -> Url {
        match address {
            Address::Status => &self.status,
            Address::Response => &self.response,
            Address::Cancel => &self.cancel,
        }
        .clone()
    }
}

fn owned(text: &str, account: &Account) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MOST_ADDRESS_BYTES)?;
    account.owns(&url).then_some(url)
}
