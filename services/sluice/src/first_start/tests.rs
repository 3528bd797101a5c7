use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sluice_daemon::SystemClock;
use sluice_mail::Address;
use sluice_registry::memory::MemoryLog;
use sluice_registry::{AuthOutcome, VerifyConfig};

use super::*;

const NOW: UnixMs = UnixMs(1_795_464_000_000);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes everything, and confirms nothing yet.
    fn set_up(&self) -> Result<Setup, SetupError> {
        let mut setup = Setup::default();
        setup.config(&self.path("sluice.toml"), &self.path("data"))?;
        setup.data_dir(&self.path("data"))?;
        self.certify(&mut setup)?;
        Ok(setup)
    }

    fn certify(&self, setup: &mut Setup) -> Result<(), SetupError> {
        setup.certificate(&self.path("data/certificate.pem"), &self.path("data/key.pem"), "mail.example.org", NOW)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// Everything that is there, sorted.
    fn content(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in [self.0.path().to_owned(), self.path("data")] {
            let entries = fs::read_dir(folder).into_iter().flatten();
            found.extend(entries.map(|e| e.unwrap().file_name().into_string().unwrap()));
        }
        found.sort();
        found
    }
}

async fn registry() -> Registry {
    Registry::open(MemoryLog::new(), VerifyConfig::default(), Arc::new(SystemClock)).await.unwrap()
}

#[tokio::test]
async fn a_first_start_makes_everything() {
    let place = Place::new();
    let registry = registry().await;
    let setup = place.set_up().unwrap();
    assert!(!place.path("sluice.toml").exists(), "the configuration gets its name last");
    let Accounts::DemoMade(password) = setup.complete(&registry).await.unwrap() else { panic!("demo is new") };
    assert_eq!(place.content(), ["certificate.pem", "data", "key.pem", "sluice.toml"]);
    assert_eq!((place.mode("data"), place.mode("data/key.pem")), (0o700, 0o600));
    assert!(password.len() >= 20 && password.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert!(matches!(registry.verify(DEMO, &password).await, AuthOutcome::Accepted(_)));
    let demo = registry.account(DEMO).unwrap();
    assert!(demo.may_send_as(&Address::parse("hello@sluice.example").unwrap()));
    assert!(demo.may_use_lane(Lane::Bulk) && demo.default_lane() == Lane::Transactional);
    let text = fs::read_to_string(place.path("sluice.toml")).unwrap();
    assert!(!text.contains(&password) && text.contains(&place.path("data").display().to_string()), "{text}");
}

#[tokio::test]
async fn a_first_start_that_fails_leaves_nothing() {
    let place = Place::new();
    drop(place.set_up().unwrap());
    assert_eq!(place.content(), [""; 0]);
    // Somebody else's file appears meanwhile.
    let registry = registry().await;
    let setup = place.set_up().unwrap();
    fs::write(place.path("sluice.toml"), "theirs").unwrap();
    let Err(error) = setup.complete(&registry).await else { panic!("it must not be overwritten") };
    assert!(error.to_string().contains("sluice.toml") && error.exit_code() == ExitCode::CannotCreate, "{error}");
    assert_eq!(place.content(), ["sluice.toml"]);
    assert!(fs::read_to_string(place.path("sluice.toml")).unwrap() == "theirs" && registry.account(DEMO).is_none());
}

#[tokio::test]
async fn a_first_start_keeps_what_is_there() {
    let place = Place::new();
    let registry = registry().await;
    place.set_up().unwrap().complete(&registry).await.unwrap();
    let key = fs::read(place.path("data/key.pem")).unwrap();
    fs::remove_file(place.path("sluice.toml")).unwrap();
    fs::write(place.path("sluice.toml.new"), "left by a crash").unwrap();
    let accounts = place.set_up().unwrap().complete(&registry).await.unwrap();
    assert!(matches!(accounts, Accounts::Demo), "its password stays");
    assert_eq!(fs::read(place.path("data/key.pem")).unwrap(), key);
    assert_eq!(place.content(), ["certificate.pem", "data", "key.pem", "sluice.toml"]);
}

#[tokio::test]
async fn later_starts_make_no_account() {
    let registry = registry().await;
    assert!(matches!(Setup::default().complete(&registry).await.unwrap(), Accounts::Nobody));
    registry.create_account("shop", AccountRules::default(), "secret").await.unwrap();
    assert!(matches!(Setup::default().complete(&registry).await.unwrap(), Accounts::Others));
}

#[test]
fn a_half_made_certificate_is_mended_or_told() {
    let place = Place::new();
    let mut setup = Setup::default();
    setup.data_dir(&place.path("data")).unwrap();
    place.certify(&mut setup).unwrap();
    let key = fs::read(place.path("data/key.pem")).unwrap();
    fs::remove_file(place.path("data/certificate.pem")).unwrap();
    place.certify(&mut setup).unwrap();
    assert_eq!(fs::read(place.path("data/key.pem")).unwrap(), key, "a certificate for the key that is there");
    fs::remove_file(place.path("data/key.pem")).unwrap();
    let error = place.certify(&mut setup).unwrap_err();
    assert!(error.to_string().contains("key.pem") && error.exit_code() == ExitCode::Config, "{error}");
}

#[test]
fn what_cannot_be_made_is_named() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let mut setup = Setup::default();
    let error = setup.data_dir(&place.path("file")).unwrap_err();
    assert!(error.to_string().contains("is not a folder") && error.exit_code() == ExitCode::CannotCreate, "{error}");
    let error = setup.data_dir(&place.path("file/data")).unwrap_err();
    assert!(error.to_string().contains("file/data"), "{error}");
    let error = setup.config(&place.path("nowhere/sluice.toml"), Path::new("data")).unwrap_err();
    assert!(error.to_string().contains("nowhere/sluice.toml") && error.to_string().contains("--config"), "{error}");
    assert_eq!(place.content(), ["file"]);
}
