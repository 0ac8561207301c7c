//! Who this installation is towards gateways: an Ed25519 key of its own, and the tokens that gateways gave it for that.
//!
//! A gateway that isn't on this machine wants to know the device, and that somebody approved it. The key is never shared
//! with another program: two programs with one key would take each other's approvals away.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::wire::{Challenge, Connect, DeviceProof};

/// Why there is no identity. Names files: for the operator's log.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The operating system says no.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The file holds something else.
    #[error("{0} is no key of 32 bytes")]
    NoKey(PathBuf),
    /// Others may read the key.
    #[error("{0} may be read by others: chmod 600 it, or remove it and have the device approved again")]
    Open(PathBuf),
    /// There is no chance to be had.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
}

/// The identity of this installation.
pub struct Device {
    key: SigningKey,
    id: String,
    folder: PathBuf,
}

/// A token that a gateway gave this device, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Where the gateway was: a token isn't shown to another one that took over the name.
    gateway: String,
    token: String,
}

impl Device {
    /// Reads the key in `folder`, or makes folder and key, which nobody else may read.
    ///
    /// # Errors
    /// When it can't be read or made, or others may read it.
    pub fn open(folder: &Path) -> Result<Self, DeviceError> {
        let path = folder.join("device.key");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder, &path)?,
            Err(error) => return Err(DeviceError::File(path, error)),
        };
        let mode = fs::metadata(&path).map_err(|error| DeviceError::File(path.clone(), error))?;
        if mode.permissions().mode() & 0o077 != 0 {
            return Err(DeviceError::Open(path));
        }
        let seed: [u8; 32] = bytes.try_into().map_err(|_| DeviceError::NoKey(path))?;
        let key = SigningKey::from_bytes(&seed);
        let digest = Sha256::digest(key.verifying_key().as_bytes());
        let id = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            key,
            id,
            folder: folder.to_owned(),
        })
    }

    /// The SHA-256 digest of the public key in hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Proves to a gateway that this device sends `connect`, which must be complete but for the proof.
    pub fn prove(&self, challenge: &Challenge, connect: &Connect) -> DeviceProof {
        let signed_at = challenge.ts.unwrap_or_default();
        let signature = self.key.sign(self.signed_text(challenge, connect).as_bytes());
        DeviceProof {
            id: self.id.clone(),
            public_key: URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes()),
            signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()),
            signed_at,
            nonce: challenge.nonce.clone(),
        }
    }

    /// The third version of the text that is signed.
    fn signed_text(&self, challenge: &Challenge, connect: &Connect) -> String {
        let client = &connect.client;
        [
            "v3",
            &self.id,
            client.id,
            client.mode,
            connect.role,
            &connect.scopes.join(","),
            &challenge.ts.unwrap_or_default().to_string(),
            connect.auth.as_ref().map_or("", |auth| auth.signed()),
            &challenge.nonce,
            &client.platform.to_ascii_lowercase(),
            &client.device_family.to_ascii_lowercase(),
        ]
        .join("|")
    }

    /// The token that the instance `name` at `gateway` gave this device.
    pub fn token(&self, name: &str, gateway: &str) -> Option<String> {
        let text = fs::read(self.token_file(name)).ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        (kept.gateway == gateway && !kept.token.is_empty()).then_some(kept.token)
    }

    /// Keeps a token.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_token(&self, name: &str, gateway: &str, token: &str) -> Result<(), DeviceError> {
        let path = self.token_file(name);
        let kept = Kept {
            gateway: gateway.to_owned(),
            token: token.to_owned(),
        };
        let text = serde_json::to_vec(&kept).map_err(|error| DeviceError::File(path.clone(), error.into()))?;
        let fresh = written(&self.folder, &text).map_err(|error| DeviceError::File(path.clone(), error))?;
        fresh
            .persist(&path)
            .map_err(|error| DeviceError::File(path, error.error))?;
        Ok(())
    }

    /// Forgets a token that the gateway doesn't take any more.
    pub fn forget_token(&self, name: &str) {
        let _ = fs::remove_file(self.token_file(name));
    }

    fn token_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.token"))
    }
}

/// Makes the key file. Of two processes that start together one wins, and the other takes its key.
fn make_key(folder: &Path, path: &Path) -> Result<Vec<u8>, DeviceError> {
    let failed = |error: io::Error| DeviceError::File(path.to_owned(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(DeviceError::Random)?;
    match written(folder, &seed).map_err(failed)?.persist_noclobber(path) {
        Ok(_) => Ok(seed.to_vec()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => fs::read(path).map_err(failed),
        Err(error) => Err(failed(error.error)),
    }
}

/// A file with mode 0600 that has no name yet by which anybody would look for it.
fn written(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;
    use crate::gateway::wire::{Auth, Client};

    fn connect(auth: Auth) -> Connect {
        Connect {
            min_protocol: 4,
            max_protocol: 4,
            client: Client {
                id: "gateway-client",
                mode: "backend",
                display_name: "clawhand",
                version: "1",
                platform: "linux",
                device_family: "Linux",
            },
            role: "operator",
            scopes: vec!["operator.read", "operator.write"],
            caps: vec![],
            auth: Some(auth),
            device: None,
            user_agent: "clawhand/1".into(),
        }
    }

    fn challenge() -> Challenge {
        Challenge {
            nonce: "n-1".into(),
            ts: Some(1_795_231_195_843),
        }
    }

    #[test]
    fn the_same_key_is_found_again_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("gateway");
        let first = Device::open(&home).expect("made");
        let second = Device::open(&home).expect("read");
        assert_eq!(first.id(), second.id());
        assert_eq!(first.id().len(), 64);
        let key = home.join("device.key");
        assert_eq!(fs::metadata(&key).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(&home).expect("a folder").count(),
            1,
            "nothing is left beside it"
        );

        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(matches!(Device::open(&home), Err(DeviceError::Open(_))));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&key, b"short").expect("written");
        assert!(matches!(Device::open(&home), Err(DeviceError::NoKey(_))));
    }

    #[test]
    fn processes_that_start_together_agree() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Device::open(folder.path()).expect("a device").id().to_owned();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            all.into_iter().map(|one| one.join().expect("ran")).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn what_is_signed_is_what_the_gateway_checks() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = Device::open(folder.path()).expect("a device");
        let connect = connect(Auth::Token("secret".into()));
        let proof = device.prove(&challenge(), &connect);
        let text = format!(
            "v3|{}|gateway-client|backend|operator|operator.read,operator.write|1795231195843|secret|n-1|linux|linux",
            device.id()
        );
        let public: [u8; 32] = URL_SAFE_NO_PAD
            .decode(&proof.public_key)
            .expect("base64url")
            .try_into()
            .expect("32 bytes");
        let signature = URL_SAFE_NO_PAD.decode(&proof.signature).expect("base64url");
        let signature = Signature::from_slice(&signature).expect("a signature");
        let key = VerifyingKey::from_bytes(&public).expect("a key");
        key.verify_strict(text.as_bytes(), &signature).expect("signed");
        let id: String = Sha256::digest(public)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(proof.id, id);
        assert_eq!((proof.signed_at, proof.nonce.as_str()), (1_795_231_195_843, "n-1"));
    }

    #[test]
    fn a_token_is_kept_for_one_gateway() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = Device::open(folder.path()).expect("a device");
        assert_eq!(device.token("lab", "ws://a/"), None);
        device.keep_token("lab", "ws://a/", "t-1").expect("kept");
        device.keep_token("lab", "ws://a/", "t-2").expect("kept");
        assert_eq!(device.token("lab", "ws://a/").as_deref(), Some("t-2"));
        assert_eq!(device.token("lab", "ws://b/"), None);
        assert_eq!(device.token("other", "ws://a/"), None);
        let file = fs::metadata(folder.path().join("lab.token")).expect("there");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        device.forget_token("lab");
        assert_eq!(device.token("lab", "ws://a/"), None);
    }
}
