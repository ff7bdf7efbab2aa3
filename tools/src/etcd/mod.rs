//! The coordinator in etcd: one key, changed by transactions that compare its revision.
//!
//! etcd v3 is spoken to through its JSON gateway, over one kept connection. Reads are linearizable; a swap is a
//! transaction on the key's `mod_revision`. No lease and no lock is taken: neither guards safety, since a stopped process
//! does not notice that it lost one.
//!
//! Whether a request that broke off was carried out cannot be known, and etcd may even carry it out later: that is
//! answered [`Answer::Unknown`], never tried again here, and whoever asked reads again. What certainly did not reach a
//! member is sent to the next one.
//!
//! Each request blocks for up to the configured time an endpoint: this is for the steward's thread.

mod gateway;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use seqcast_engine::config;
use seqcast_engine::replica::{
    Answer, Coordinator, LastSeen, Record, RecordError, Request, Versioned, WentBack,
};
use seqcast_engine::time::Nanos;
use seqcast_wire::Session;
use serde::Deserialize;
use serde_json::json;

use gateway::{Failure, Gateway};

/// A [`Coordinator`] in an etcd cluster.
pub struct EtcdCoordinator {
    session: Session,
    key: String,
    gateway: Gateway,
    store: Store,
    seen: LastSeen,
    answer: Option<Answer>,
    notice: Option<String>,
}

/// What the cluster was seen to be: etcd's revision counts all changes of the whole store, and never goes back.
#[derive(Default)]
struct Store {
    cluster: Option<String>,
    revision: u64,
    /// To which revision it once went back: then it is not trusted again.
    went_back: Option<u64>,
}

/// What every answer of etcd begins with.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    revision: String,
}

#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    mod_revision: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Txn {
    header: Header,
    #[serde(default)]
    succeeded: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Failures(Failures),
    #[error("etcd at {endpoint} answers what it should not: {what}; is that really etcd 3.4 or later?")]
    Nonsense { endpoint: String, what: String },
    #[error(
        "etcd's key {key:?}: no record to act on: {error}; stop all nodes, put the record that they logged last there, and \
         start them again"
    )]
    Record { key: String, error: RecordError },
    #[error(
        "etcd's key {key:?}: {error}: etcd was restored from an older backup, or the key changed by hand; stop all nodes, \
         put the record that they logged last there, and start them again"
    )]
    WentBack { key: String, error: WentBack },
    #[error(
        "etcd at {endpoint} was at revision {seen} and then at {found}: it was restored from an older backup; stop all \
         nodes, put the record that they logged last under key {key:?}, and start them again"
    )]
    StoreWentBack { endpoint: String, key: String, found: u64, seen: u64 },
    #[error(
        "etcd at {endpoint} is of the cluster {found}, and the others are of {seen}; name the members of one cluster"
    )]
    OtherCluster { endpoint: String, found: String, seen: String },
    #[error("a record that makes no sense was not written: {0}")]
    Refused(RecordError),
    #[error("a record that goes back was not written: {0}")]
    Backwards(WentBack),
}

/// What each endpoint that was tried said, in the order of the configuration: the same trouble reads the same.
#[derive(Debug, Default)]
struct Failures(Vec<(usize, Failure)>);

impl std::fmt::Display for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (nth, (_, failure)) in self.0.iter().enumerate() {
            let separator = if nth > 0 { "; " } else { "" };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl Failures {
    fn add(&mut self, at: usize, failure: Failure) {
        self.0.push((at, failure));
        self.0.sort_by_key(|(at, _)| *at);
    }
}

impl EtcdCoordinator {
    /// The coordinator of `session` as `config` describes it. Nothing is sent yet.
    ///
    /// # Errors
    /// Files of the configuration that cannot be read; TLS in a program that was built without it.
    pub fn new(config: &config::EtcdCoordinator, session: Session) -> anyhow::Result<EtcdCoordinator> {
        let gateway = Gateway::new(config, Duration::from_nanos(config.request_timeout.0))?;
        let key = format!("{}{session}", config.prefix);
        Ok(EtcdCoordinator {
            session,
            key,
            gateway,
            store: Store::default(),
            seen: LastSeen::default(),
            answer: None,
            notice: None,
        })
    }

    /// The key of the record.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn read(&mut self) -> Result<Answer, Trouble> {
        let request = json!({ "key": BASE64_STANDARD.encode(&self.key) });
        let mut failures = Failures::default();
        for _ in 0..self.gateway.endpoints() {
            let at = self.gateway.at();
            match self.gateway.call::<Range>("/v3/kv/range", &request) {
                Ok(range) => return self.on_range(&range),
                Err(failure) => failures.add(at, failure),
            }
            self.gateway.turn();
        }
        Err(Trouble::Failures(failures))
    }

    fn on_range(&mut self, range: &Range) -> Result<Answer, Trouble> {
        self.check_store(&range.header)?;
        let found = range.kvs.first().map(|found| self.decode(found)).transpose()?;
        self.note(found)?;
        Ok(Answer::Read(found))
    }

    fn decode(&self, found: &KeyValue) -> Result<Versioned, Trouble> {
        let revision = self.number(&found.mod_revision)?;
        let bytes = BASE64_STANDARD.decode(&found.value).map_err(|error| self.nonsense(error))?;
        let record = Record::decode(&bytes, self.session)
            .map_err(|error| Trouble::Record { key: self.key.clone(), error })?;
        Ok(Versioned { revision, record })
    }

    fn swap(&mut self, expected: u64, record: Record) -> Result<Answer, Trouble> {
        record.check(self.session).map_err(Trouble::Refused)?;
        self.trusted()?;
        if self.seen.is_lost(expected) {
            return Ok(Answer::Lost);
        }
        self.seen.check_swap(expected, record).map_err(Trouble::Backwards)?;
        let key = BASE64_STANDARD.encode(&self.key);
        let request = json!({
            // A key that is not there has revision 0.
            "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": expected.to_string() }],
            "success": [{ "request_put": { "key": key, "value": BASE64_STANDARD.encode(record.encode()) } }],
        });
        let mut failures = Failures::default();
        for _ in 0..self.gateway.endpoints() {
            let at = self.gateway.at();
            match self.gateway.call::<Txn>("/v3/kv/txn", &request) {
                Ok(txn) => return self.on_txn(&txn, record),
                Err(failure) => {
                    let unsent = failure.is_unsent();
                    failures.add(at, failure);
                    self.gateway.turn();
                    if !unsent {
                        break;
                    }
                }
            }
        }
        Err(Trouble::Failures(failures))
    }

    fn on_txn(&mut self, txn: &Txn, record: Record) -> Result<Answer, Trouble> {
        self.check_store(&txn.header)?;
        if !txn.succeeded {
            return Ok(Answer::Lost);
        }
        // The store's revision after a transaction is that of what it wrote.
        let made = Versioned { revision: self.store.revision, record };
        self.note(Some(made))?;
        Ok(Answer::Swapped(made))
    }

    fn note(&mut self, found: Option<Versioned>) -> Result<(), Trouble> {
        self.seen.check(found).map_err(|error| Trouble::WentBack { key: self.key.clone(), error })
    }

    fn check_store(&mut self, header: &Header) -> Result<(), Trouble> {
        let endpoint = self.gateway.endpoint().to_owned();
        let found = self.number(&header.revision)?;
        let cluster = self.store.cluster.get_or_insert_with(|| header.cluster_id.clone());
        if *cluster != header.cluster_id {
            let found = header.cluster_id.clone();
            return Err(Trouble::OtherCluster { endpoint, found, seen: cluster.clone() });
        }
        if found < self.store.revision {
            self.store.went_back.get_or_insert(found);
        }
        self.trusted()?;
        self.store.revision = found;
        Ok(())
    }

    /// Whether etcd never went back.
    fn trusted(&self) -> Result<(), Trouble> {
        let key = || self.key.clone();
        if let Some(found) = self.store.went_back {
            let endpoint = self.gateway.endpoint().to_owned();
            return Err(Trouble::StoreWentBack { endpoint, key: key(), found, seen: self.store.revision });
        }
        self.seen.trusted().map_err(|error| Trouble::WentBack { key: key(), error })
    }

    fn number(&self, text: &str) -> Result<u64, Trouble> {
        // What is 0 is left out of the answers; no revision is.
        text.parse()
            .ok()
            .filter(|&number| number > 0)
            .ok_or_else(|| self.nonsense(format_args!("revision {text:?}")))
    }

    fn nonsense(&self, what: impl std::fmt::Display) -> Trouble {
        Trouble::Nonsense { endpoint: self.gateway.endpoint().to_owned(), what: what.to_string() }
    }
}

impl Coordinator for EtcdCoordinator {
    fn submit(&mut self, _now: Nanos, request: Request) {
        let answer = match request {
            Request::Read => self.read(),
            Request::Swap { expected, record } => self.swap(expected, record),
        };
        self.answer = Some(answer.unwrap_or_else(|trouble| {
            self.notice = Some(trouble.to_string());
            Answer::Unknown
        }));
    }

    fn poll(&mut self, _now: Nanos) -> Option<Answer> {
        self.answer.take()
    }

    fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }
}
