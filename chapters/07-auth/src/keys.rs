//! The keys of the issuer: fetched, kept, and fetched again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use quick_cache::sync::Cache;
use reqwest::redirect;
use reqwest::{Client, Url};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::denial::Denial;
use crate::tokens::{Algorithm, Verified};

/// The longest key set that is read, in bytes. Those that people use are shorter than 10 KiB.
const LONGEST: usize = 64 * 1024;

/// How many requests may wait for the key server at once. The others are refused, so that
/// requests with forged tokens cannot take the places of all others while the key server hangs.
const WAITING: usize = 50;

/// How many verified tokens are remembered with a set of keys.
const REMEMBERED: usize = 10_000;

// ANCHOR: key-set
/// The keys that the issuer has published, and the tokens that they have verified. Both end
/// together: what was verified by a key that is gone is not remembered either.
pub(crate) struct KeySet {
    published: HashMap<String, Jwk>,
    keys: HashMap<String, DecodingKey>,
    /// Tokens that were verified, each by its SHA-256 digest: a token that differs in one bit is
    /// another one, and the token itself is not kept.
    pub(crate) verified: Cache<[u8; 32], Arc<Verified>>,
}
// ANCHOR_END: key-set

impl KeySet {
    /// Takes those of the keys that a token can be verified with.
    fn new(published: JwkSet, algorithm: Algorithm) -> Self {
        let mut set = Self {
            published: HashMap::new(),
            keys: HashMap::new(),
            verified: Cache::new(REMEMBERED),
        };
        for jwk in published.keys {
            let (Some(kid), true) = (jwk.common.key_id.clone(), is_for(&jwk, algorithm)) else {
                continue;
            };
            if let Ok(key) = DecodingKey::from_jwk(&jwk) {
                set.keys.insert(kid.clone(), key);
                set.published.insert(kid, jwk);
            }
        }
        set
    }

    /// The key with this name.
    pub(crate) fn get(&self, kid: &str) -> Option<&DecodingKey> {
        self.keys.get(kid)
    }
}

// ANCHOR: is-for
/// Whether a key is one for this algorithm, and strong enough. The issuer may publish others, for
/// other uses; a token never has a say in it.
fn is_for(jwk: &Jwk, algorithm: Algorithm) -> bool {
    // In base64url, 32 bytes are 43 letters, 256 bytes are 342, and 512 bytes are 683.
    let kind = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519 && key.x.len() == 43
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256 && [key.x.len(), key.y.len()] == [43, 43]
        }
        (AlgorithmParameters::RSA(key), Algorithm::RS256) => (342..=683).contains(&key.n.len()),
        _ => false,
    };
    let common = &jwk.common;
    let alg = common.key_algorithm;
    kind && alg.is_none_or(|alg| alg == algorithm.name().into())
        && matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
}
// ANCHOR_END: is-for

/// What is known of the issuer's keys.
#[derive(Clone)]
struct Known {
    set: Arc<KeySet>,
    /// When the key server was last asked: the moment of its answer, or of its failure.
    asked: Option<Instant>,
    /// What was wrong with it then.
    trouble: Option<String>,
}

impl Known {
    fn was_asked_within(&self, pause: Duration) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < pause)
    }
}

/// Where the keys are, and how often to look.
pub struct Source {
    /// The URL of the issuer's JSON Web Key Set (RFC 7517).
    pub url: Url,
    /// What the keys must be for.
    pub algorithm: Algorithm,
    /// How long the key server may take for its whole answer.
    pub timeout: Duration,
    /// How long to wait between two looks that nobody asks for.
    pub interval: Duration,
    /// How long to wait at least between two looks that tokens ask for.
    pub pause: Duration,
}

/// The keys of the issuer.
pub struct Keys {
    known: watch::Receiver<Known>,
    ask: Arc<Notify>,
    pause: Duration,
    waiting: Semaphore,
}

impl Keys {
    /// Begins to fetch keys in a task of its own, and goes on for as long as the program runs.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn fetch(source: Source) -> Self {
        let nothing = JwkSet { keys: Vec::new() };
        let (publish, known) = watch::channel(Known {
            set: Arc::new(KeySet::new(nothing, source.algorithm)),
            asked: None,
            trouble: None,
        });
        let ask = Arc::new(Notify::new());
        let pause = source.pause;
        tokio::spawn(source.keep_up(publish, ask.clone()));
        Self {
            known,
            ask,
            pause,
            waiting: Semaphore::new(WAITING),
        }
    }

    /// The keys that are known now.
    pub(crate) fn now(&self) -> Arc<KeySet> {
        self.known.borrow().set.clone()
    }

    // ANCHOR: find
    /// Finds a set that has the key of this name. If none is known, the key server is asked, but
    /// not more often than `pause` allows, however many tokens name keys that do not exist.
    pub(crate) async fn find(&self, kid: &str) -> Result<Arc<KeySet>, Denial> {
        let no_keys = |why: String| Denial::NoKeys {
            why,
            retry_after: self.pause,
        };
        let mut changes = self.known.clone();
        let mut known = changes.borrow_and_update().clone();
        if known.set.get(kid).is_none() && !known.was_asked_within(self.pause) {
            let _place = self
                .waiting
                .try_acquire()
                .map_err(|_| no_keys("too many requests wait for the issuer's keys".to_owned()))?;
            // One task fetches, for all who wait.
            self.ask.notify_one();
            // An error means that the task is gone, which goes on for as long as the program runs.
            let _ = changes.changed().await;
            known = changes.borrow_and_update().clone();
        }
        match known.trouble {
            _ if known.set.get(kid).is_some() => Ok(known.set),
            None => Err(Denial::invalid("the issuer has no such key")),
            Some(why) => Err(no_keys(format!("no keys from the issuer: {why}"))),
        }
    }
    // ANCHOR_END: find
}

impl Source {
    // ANCHOR: keep-up
    /// Fetches keys when it is time, and when someone asks.
    async fn keep_up(self, publish: watch::Sender<Known>, asked: Arc<Notify>) {
        let client = Client::builder()
            .timeout(self.timeout)
            .no_proxy()
            // Keys come from where the settings say, and from nowhere else.
            .redirect(redirect::Policy::none())
            .build()
            .expect("a client without TLS needs nothing that could be missing");
        let mut time = interval(self.interval);
        time.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // In this order: what it is time for anyway need not be done once more for who asks.
                biased;
                _ = time.tick() => {}
                () = asked.notified() => {
                    // Someone asked while the answer was on its way, and has it now.
                    if publish.borrow().was_asked_within(self.pause) {
                        continue;
                    }
                }
            }
            let fetched = self.fetch(&client).await;
            publish.send_modify(|known| learn(known, fetched));
            time.reset();
        }
    }
    // ANCHOR_END: keep-up

    /// Fetches keys once.
    async fn fetch(&self, client: &Client) -> Result<KeySet, String> {
        let cause = |error: reqwest::Error| sidecar_kit::cause(&error).to_string();
        let mut answer = client.get(self.url.clone()).send().await.map_err(cause)?;
        if answer.status() != 200 {
            return Err(format!("the answer is {}", answer.status()));
        }
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(cause)? {
            if text.len() + piece.len() > LONGEST {
                return Err(format!("the answer is longer than {LONGEST} bytes"));
            }
            text.extend_from_slice(&piece);
        }
        let set = serde_json::from_slice(&text).map_err(|_| "the answer is no key set")?;
        let set = KeySet::new(set, self.algorithm);
        if set.keys.is_empty() {
            return Err(format!("none of its keys is for {:?}", self.algorithm));
        }
        Ok(set)
    }
}

/// Takes in what the key server said, and prints what is new.
fn learn(known: &mut Known, fetched: Result<KeySet, String>) {
    known.asked = Some(Instant::now());
    match fetched {
        Ok(set) => {
            if set.published != known.set.published {
                println!("keys of the issuer: {}", set.keys.len());
                known.set = Arc::new(set);
            } else if known.trouble.is_some() {
                println!("the issuer's keys are the same as before");
            }
            known.trouble = None;
        }
        // The keys that are known stay: they are no worse than they were.
        Err(why) => {
            if known.trouble.as_ref() != Some(&why) {
                println!("trouble: no keys from the issuer: {why}");
            }
            known.trouble = Some(why);
        }
    }
}
