//! What users name by a link, fetched without giving them this server's place in the network.
//!
//! - A link is judged when it is given ([`EgressPolicy::check`], pure) and again before each request.
//! - Names are looked up once for each connection, and the connection goes to the very addresses that were judged: an answer that changes
//!   ("DNS rebinding") gains nothing. A name of which any address is refused is refused whole: no public service has private addresses
//!   too, and which of them would be taken is chance.
//! - Redirects are followed by this module's own loop, which judges each link as if a user had given it. Nothing of a request but its
//!   method goes along.
//! - No proxy of the surroundings is used: it would look up names itself.
//! - `egress.allow` opens networks, and for them plain HTTP and all ports; `egress.deny` closes networks, public and opened ones too.

mod client;
mod error;
mod policy;
mod resolver;
mod url;

pub use client::{Download, Egress, MAX_REDIRECTS, SavedDownload};
pub use error::{LookupError, UrlRefusal};
pub use policy::{EgressPolicy, PORTS, Reach};
pub use resolver::{NameLookup, SystemLookup};
pub use url::{MAX_URL_CHARACTERS, UserUrl};

pub(super) use error::lookup_error_in;
