//! etcd's JSON gateway: POST a JSON object, get one back, at one endpoint after the other, logged in where etcd asks for
//! it.

use std::time::Duration;

use seqcast_engine::config;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Longest answer that is read: a record has 512 bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// Status codes of gRPC, as etcd gives them beside HTTP's.
const INVALID_ARGUMENT: u64 = 3;
const PERMISSION_DENIED: u64 = 7;
const FAILED_PRECONDITION: u64 = 9;
const UNAUTHENTICATED: u64 = 16;

/// The members of etcd, of which one is spoken to at a time.
pub(super) struct Gateway {
    agent: ureq::Agent,
    endpoints: Vec<String>,
    at: usize,
    login: Option<Login>,
}

struct Login {
    user: String,
    password: String,
    token: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[error("etcd at {endpoint}: {what}")]
pub(super) struct Failure {
    endpoint: String,
    what: String,
    fate: Fate,
}

/// What became of a request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It did not reach the member: another one may take it.
    Unsent,
    /// The member refused it, and so would all others.
    Refused,
    /// The token was refused: a new one may do.
    TokenRefused,
    /// Not known.
    Unknown,
}

impl Failure {
    /// Whether the request did not reach the member.
    pub(super) fn is_unsent(&self) -> bool {
        self.fate == Fate::Unsent
    }
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// etcd's own errors. Which of the two texts there is depends on its version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    message: String,
    code: u64,
}

impl Gateway {
    /// The gateway that `config` describes, `timeout` for each call.
    pub(super) fn new(config: &config::EtcdCoordinator, timeout: Duration) -> anyhow::Result<Gateway> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout / 2)) // So that it is known that nothing was sent.
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None) // What the environment says is meant for the web.
            .max_idle_connections_per_host(1)
            .user_agent(concat!("seqcast/", env!("CARGO_PKG_VERSION")));
        let agent = tls::configure(agent, config)?.build().new_agent();
        let login = config.user.clone().zip(config.password.clone());
        let login = login.map(|(user, password)| Login { user, password, token: None });
        let endpoints = config.endpoints.iter().map(ToString::to_string).collect();
        Ok(Gateway { agent, endpoints, at: 0, login })
    }

    /// How many endpoints there are.
    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoint that is spoken to.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoints[self.at]
    }

    /// Its place in the configuration.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Speaks to the next one from now on.
    pub(super) fn turn(&mut self) {
        self.at = (self.at + 1) % self.endpoints.len();
    }

    /// Calls the endpoint. A token that it refuses is renewed once: what was refused was not carried out.
    pub(super) fn call<T: DeserializeOwned>(&mut self, path: &str, request: &Value) -> Result<T, Failure> {
        let renewable = self.authenticate()?;
        match self.post(path, request) {
            Err(failure) if failure.fate == Fate::TokenRefused && renewable => {
                if let Some(login) = &mut self.login {
                    login.token = None;
                }
                self.authenticate()?;
                self.post(path, request)
            }
            outcome => outcome,
        }
    }

    /// Sees that there is a token where one is needed. Gives whether it is one from before, which may have expired.
    fn authenticate(&mut self) -> Result<bool, Failure> {
        let Some(login) = self.login.as_ref() else { return Ok(false) };
        if login.token.is_some() {
            return Ok(true);
        }
        let request = json!({ "name": login.user, "password": login.password });
        // A login changes nothing: however it failed, nothing was carried out of what it is for.
        let answer = self.post("/v3/auth/authenticate", &request);
        let Token { token } = answer.map_err(|failure| Failure {
            what: format!("the login of user {:?} failed: {}", login.user, failure.what),
            fate: if failure.fate == Fate::Refused { Fate::Refused } else { Fate::Unsent },
            ..failure
        })?;
        if let Some(login) = &mut self.login {
            login.token = Some(token);
        }
        Ok(false)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, request: &Value) -> Result<T, Failure> {
        let failure = |what: String, fate| Failure { endpoint: self.endpoint().to_owned(), what, fate };
        let mut post = self.agent.post(format!("{}{path}", self.endpoint())).content_type("application/json");
        if let Some(token) = self.login.as_ref().and_then(|login| login.token.as_ref()) {
            post = post.header("authorization", token);
        }
        let mut response = post.send(request.to_string()).map_err(|error| {
            let fate = if is_unsent(&error) { Fate::Unsent } else { Fate::Unknown };
            failure(error.to_string(), fate)
        })?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| failure(error.to_string(), Fate::Unknown))?;
        let status = response.status();
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| failure(format!("its answer is not understood: {error}"), Fate::Unknown));
        }
        let Refusal { error, message, code } = serde_json::from_slice(&body).unwrap_or_default();
        let said = if message.is_empty() { error } else { message };
        let (remedy, fate) = judge(status.as_u16(), code, &said, self.login.is_some());
        let said = if said.is_empty() { "no reason given" } else { &said };
        Err(failure(format!("{said} (HTTP status {}){remedy}", status.as_u16()), fate))
    }
}

/// What to do about an error of etcd's, and what it means for the request.
fn judge(status: u16, code: u64, said: &str, logged_in: bool) -> (&'static str, Fate) {
    match code {
        UNAUTHENTICATED if logged_in => ("", Fate::TokenRefused),
        INVALID_ARGUMENT if said.contains("revision of auth store is old") => ("", Fate::TokenRefused),
        INVALID_ARGUMENT | UNAUTHENTICATED if said.contains("user name is empty") => {
            ("; give `user` and `password` in [cluster.coordinator]", Fate::Refused)
        }
        INVALID_ARGUMENT if said.contains("authentication failed") => {
            ("; correct `user` and `password` in [cluster.coordinator]", Fate::Refused)
        }
        FAILED_PRECONDITION if said.contains("authentication is not enabled") => (
            "; leave out `user` and `password` in [cluster.coordinator], or `etcdctl auth enable`",
            Fate::Refused,
        ),
        PERMISSION_DENIED => ("; grant the user's role to read and write the record's key", Fate::Refused),
        INVALID_ARGUMENT | FAILED_PRECONDITION | UNAUTHENTICATED => ("", Fate::Refused),
        _ if status == 404 => ("; its JSON gateway is not there: is it etcd 3.4 or later?", Fate::Refused),
        _ => ("", Fate::Unknown),
    }
}

/// Whether `error` came about before anything of the request was sent.
fn is_unsent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(timeout) => matches!(timeout, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        // Only connecting is refused.
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

#[cfg(feature = "etcd-tls")]
mod tls {
    use std::path::Path;

    use anyhow::Context;
    use seqcast_engine::config;
    use ureq::config::ConfigBuilder;
    use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
    use ureq::typestate::AgentScope;

    pub(super) fn configure(
        agent: ConfigBuilder<AgentScope>,
        config: &config::EtcdCoordinator,
    ) -> anyhow::Result<ConfigBuilder<AgentScope>> {
        if !config.endpoints.iter().any(config::Endpoint::is_secure) {
            return Ok(agent);
        }
        let mut tls = TlsConfig::builder();
        if let Some(ca) = &config.ca {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(ca)?));
        }
        if let Some((cert, key)) = config.cert.as_ref().zip(config.key.as_ref()) {
            let chain = certificates(cert)?;
            let key = PrivateKey::from_pem(&read(key)?).with_context(|| key.display().to_string())?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(agent.https_only(true).tls_config(tls.build()))
    }

    fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
        let place = || path.display().to_string();
        let items = read(path)?;
        let mut found = Vec::new();
        for item in parse_pem(&items) {
            if let PemItem::Certificate(certificate) = item.with_context(place)? {
                found.push(certificate);
            }
        }
        anyhow::ensure!(!found.is_empty(), "{}: holds no certificate (PEM)", place());
        Ok(found)
    }

    fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    }
}

#[cfg(not(feature = "etcd-tls"))]
mod tls {
    use seqcast_engine::config;
    use ureq::config::ConfigBuilder;
    use ureq::typestate::AgentScope;

    pub(super) fn configure(
        agent: ConfigBuilder<AgentScope>,
        config: &config::EtcdCoordinator,
    ) -> anyhow::Result<ConfigBuilder<AgentScope>> {
        if let Some(endpoint) = config.endpoints.iter().find(|endpoint| endpoint.is_secure()) {
            anyhow::bail!(
                "`cluster.coordinator.endpoints` names {endpoint}, and this program was built without TLS; build it \
                 with `--features etcd-tls`, or use http://"
            );
        }
        Ok(agent)
    }
}
