use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use jikai_schema::time::TimeMs;
use jikai_sync::identity::{CertificateAuthority, Key};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Acknowledge, Config};
use crate::identity::{REQUEST_FILE, keep_authority, make_request, request_key};
use crate::secrets::secrets_place;

const DAY_MS: i64 = 86_400_000;
const NOW_MS: i64 = 1_795_400_000_000;
const SETTINGS: RenewalSettings = RenewalSettings { remaining_percent: 33, retry_ms_max: 60_000 };

fn node() -> NodeId {
    NodeId::new(3).unwrap()
}

/// What the hub does with the next request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Signs,
    SignsButTheAnswerIsLost,
    Refuses,
    SignsForAnotherNode,
    SignsForAnotherKey,
    SignsAsAnotherAuthority,
    SignsForADay,
    TalksNonsense,
}

/// A hub that signs, or not, at the clock's time; and remembers what it was asked.
struct Hub {
    authority: CertificateAuthority,
    now_ms: Arc<AtomicI64>,
    mood: Mutex<Mood>,
    requests: Mutex<Vec<String>>,
}

impl Hub {
    fn reply(&self, request_pem: &str) -> Result<HubReply, RequestError> {
        let (mood, now_ms) = (*self.mood.lock(), TimeMs::from_ms(self.now_ms.load(Ordering::SeqCst)));
        let sign = |authority: &CertificateAuthority, request: &str, number| {
            let certificate_pem = authority.sign_node(request, NodeId::new(number).unwrap(), &[], now_ms).unwrap();
            Ok(HubReply::CertificateRenewed { certificate_pem })
        };
        let again = || {
            let key = Key::from_pem(self.authority.key().pem().to_string());
            CertificateAuthority::from_pem(self.authority.certificate_pem().to_string(), key)
        };
        match mood {
            Mood::Signs => sign(&self.authority, request_pem, 3),
            Mood::SignsButTheAnswerIsLost => Err(RequestError::TimedOut),
            Mood::Refuses => Ok(HubReply::Refused("revoked".into())),
            Mood::SignsForAnotherNode => sign(&self.authority, request_pem, 4),
            Mood::SignsForAnotherKey => sign(&self.authority, &KeyAndRequest::for_node(node()).unwrap().request_pem, 3),
            Mood::SignsAsAnotherAuthority => {
                sign(&CertificateAuthority::create("test", now_ms).unwrap(), request_pem, 3)
            }
            Mood::SignsForADay => sign(&again().signing_for(DAY_MS), request_pem, 3),
            Mood::TalksNonsense => Ok(HubReply::Enrolled),
        }
    }
}

struct Asking(Arc<Hub>);

impl AskHub for Asking {
    fn ask(&self, request: Vec<u8>) -> Future<'_, Result<Vec<u8>, RequestError>> {
        let NodeRequest::RenewCertificate { request_pem } = NodeRequest::decode(&request).unwrap() else {
            panic!("another request");
        };
        self.0.requests.lock().push(request_pem.clone());
        let reply = self.0.reply(&request_pem).map(|reply| reply.encode().unwrap());
        Box::pin(std::future::ready(reply))
    }
}

/// Secrets of a new node 3.
pub(crate) fn secrets_in(data: &std::path::Path) -> Secrets {
    let any = "127.0.0.1:0".parse().unwrap();
    let config = Config::new(3, "test".into(), vec![any], any, Acknowledge::Local);
    Secrets::create(&secrets_place(data, &config)).unwrap()
}

/// A node with a certificate of today, its hub, and how often it showed another one.
struct Fixture {
    data: tempfile::TempDir,
    secrets: Arc<Secrets>,
    hub: Arc<Hub>,
    now_ms: Arc<AtomicI64>,
    shown: Arc<AtomicUsize>,
}

impl Fixture {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let secrets = Arc::new(secrets_in(data.path()));
        let authority = CertificateAuthority::create("test", TimeMs::from_ms(NOW_MS)).unwrap();
        make_request(data.path(), &secrets, node()).unwrap();
        let request = std::fs::read_to_string(data.path().join(REQUEST_FILE)).unwrap();
        let certificate = authority.sign_node(&request, node(), &[], TimeMs::from_ms(NOW_MS)).unwrap();
        let key = request_key(&secrets).unwrap().unwrap();
        NodeIdentity::install(&secrets, &key, &certificate).unwrap();
        keep_authority(data.path(), authority.certificate_pem()).unwrap();
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let (mood, requests) = (Mutex::new(Mood::Signs), Mutex::default());
        let hub = Arc::new(Hub { authority, now_ms: now_ms.clone(), mood, requests });
        Fixture { data, secrets, hub, now_ms, shown: Arc::default() }
    }

    fn renewal(&self) -> Renewal {
        let (now_ms, shown) = (self.now_ms.clone(), self.shown.clone());
        let present: Present = Box::new(move |_| {
            shown.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let clock: Clock = Arc::new(move || TimeMs::from_ms(now_ms.load(Ordering::SeqCst)));
        let places = (self.data.path().to_owned(), self.secrets.clone());
        Renewal::open(places, node(), Arc::new(Asking(self.hub.clone())), vec![present], clock).unwrap()
    }

    fn in_days(&self, days: i64) {
        self.now_ms.store(NOW_MS + days * DAY_MS, Ordering::SeqCst);
    }

    fn installed(&self) -> Certified {
        NodeIdentity::load(self.data.path(), &self.secrets).unwrap().certified().unwrap()
    }

    /// Looks at the clock once.
    async fn look(&self) {
        let (cancelled, (_asking, asked)) = (CancellationToken::new(), mpsc::channel(1));
        cancelled.cancel();
        keep_renewed(self.renewal(), SETTINGS, asked, cancelled).await;
    }
}

#[tokio::test]
async fn a_node_renews_once_in_the_last_third_by_a_new_key_which_is_on_disk_before_it_is_shown() {
    let node = Fixture::new();
    let (before, key) =
        (node.installed(), NodeIdentity::load(node.data.path(), &node.secrets).unwrap().key.pem().to_string());
    node.in_days(480);
    node.look().await;
    assert_eq!((node.installed(), node.hub.requests.lock().len()), (before.clone(), 0));
    node.in_days(495);
    node.look().await;
    let after = node.installed();
    assert!(after.serial != before.serial && after.not_after_ms > before.not_after_ms);
    assert_ne!(NodeIdentity::load(node.data.path(), &node.secrets).unwrap().key.pem().trim(), key.trim());
    assert_eq!(node.shown.load(Ordering::SeqCst), 1);
    node.in_days(496);
    node.look().await;
    assert_eq!((node.installed(), node.shown.load(Ordering::SeqCst)), (after, 1));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_with_the_same_bytes_also_after_a_restart() {
    let node = Fixture::new();
    let before = node.installed();
    *node.hub.mood.lock() = Mood::SignsButTheAnswerIsLost;
    assert!(matches!(node.renewal().renew().await, Err(RenewalError::NoAnswer(_))));
    assert!(matches!(node.renewal().renew().await, Err(RenewalError::NoAnswer(_))));
    assert_eq!(node.installed(), before);
    *node.hub.mood.lock() = Mood::Signs;
    let renewed = node.renewal().renew().await.unwrap();
    assert_eq!(node.installed(), renewed);
    let trimmed: Vec<String> = node.hub.requests.lock().iter().map(|request| request.trim().to_string()).collect();
    assert!(trimmed.len() == 3 && trimmed.iter().all(|request| *request == trimmed[0]));
    node.renewal().renew().await.unwrap();
    assert_ne!(node.hub.requests.lock()[3].trim(), trimmed[0], "what was answered is over");
}

#[tokio::test]
async fn what_is_not_the_certificate_that_was_asked_for_changes_nothing_and_the_next_request_is_another() {
    let node = Fixture::new();
    let before = node.installed();
    let refused = async |mood| {
        *node.hub.mood.lock() = mood;
        let error = node.renewal().renew().await.unwrap_err();
        assert_eq!((node.installed(), node.shown.load(Ordering::SeqCst)), (before.clone(), 0), "{error}");
        error
    };
    assert!(matches!(refused(Mood::Refuses).await, RenewalError::Refused(reason) if reason == "revoked"));
    let other = refused(Mood::SignsForAnotherNode).await;
    assert!(matches!(other, RenewalError::Unusable(IdentityError::OtherNode(_))), "{other}");
    assert!(matches!(refused(Mood::SignsForAnotherKey).await, RenewalError::Unusable(_)));
    assert!(matches!(refused(Mood::SignsAsAnotherAuthority).await, RenewalError::Unusable(_)));
    assert!(matches!(refused(Mood::SignsForADay).await, RenewalError::Shorter));
    assert!(matches!(refused(Mood::TalksNonsense).await, RenewalError::Unreadable));
    let requests = node.hub.requests.lock().clone();
    assert!(requests.windows(2).all(|pair| pair[0].trim() != pair[1].trim()));
    *node.hub.mood.lock() = Mood::Signs;
    assert!(node.renewal().renew().await.is_ok());
}

#[tokio::test]
async fn a_node_whose_clock_is_far_off_installs_nothing() {
    let node = Fixture::new();
    let renewal = node.renewal();
    // The hub signs at its own time; here it is two days earlier.
    let clock: Clock = Arc::new(|| TimeMs::from_ms(NOW_MS - 2 * DAY_MS));
    let error = Renewal { clock, ..renewal }.renew().await.unwrap_err();
    assert!(matches!(error, RenewalError::Unusable(IdentityError::Tls(_))), "{error}");
    let clock: Clock = Arc::new(|| TimeMs::from_ms(NOW_MS - DAY_MS));
    assert!(Renewal { clock, ..node.renewal() }.renew().await.is_ok());
}

#[tokio::test]
async fn somebody_on_the_machine_can_have_it_renewed_and_is_told_what_came_of_it() {
    let node = Fixture::new();
    let cancelled = CancellationToken::new();
    let asked = listen(node.data.path(), cancelled.clone());
    let renewal = node.renewal();
    let mut current = renewal.current();
    let keeping = tokio::spawn(keep_renewed(renewal, SETTINGS, asked, cancelled.clone()));
    let ask = || {
        let data = node.data.path().to_owned();
        tokio::task::spawn_blocking(move || ask_running(&data))
    };
    let said = ask().await.unwrap().unwrap();
    current.changed().await.unwrap();
    assert!(said.contains(&current.borrow().serial) && *current.borrow() == node.installed(), "{said}");
    *node.hub.mood.lock() = Mood::Refuses;
    assert!(ask().await.unwrap().unwrap_err().to_string().contains("the hub refused: revoked"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(node.data.path().join("control.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    cancelled.cancel();
    keeping.await.unwrap();
    assert!(ask().await.unwrap().is_err());
}
