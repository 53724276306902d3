//! Keys, commits and tags made by the real programs: `git`, `ssh-keygen`, `gpg`. Nothing of the machine's own
//! configuration is used, and no agent outlives a test.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use trued_model::Timestamp;
use trued_signatures::{Listed, Proof, Signers, Unproven, read_allowed_signers, read_keyring};

/// A folder with a repository, SSH keys and a keyring of GnuPG's.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.home()).args(["--kill", "all"]).output();
    }
}

/// Now, as tests have it.
#[expect(clippy::disallowed_methods, reason = "gpg and ssh-keygen use the machine's clock")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("it is before the year 292,000,000"))
}

/// So many days from now.
pub fn later(days: i64) -> Timestamp {
    Timestamp(now().0 + days * 86_400_000)
}

impl Bench {
    pub fn new() -> Bench {
        let bench = Bench { folder: tempfile::Builder::new().prefix("sig").tempdir().expect("a folder") };
        fs::create_dir(bench.home()).expect("a folder");
        std::os::unix::fs::chown(bench.home(), None, None).expect("it is ours");
        fs::set_permissions(bench.home(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("it is ours");
        bench.git(&["init", "-q", "-b", "main", "."]);
        bench
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.at("gpg")
    }

    pub fn run(&self, program: &str, args: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
        let mut child = Command::new(program)
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("GNUPGHOME", self.home())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs {program} (Debian: git, openssh-client, gnupg): {error}"));
        // A program that reads nothing closes its input early.
        let _ = child.stdin.take().expect("it is piped").write_all(input);
        let output = child.wait_with_output().expect("it ends");
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    pub fn git(&self, args: &[&str]) -> String {
        let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"];
        let done = self.run("git", &[&identity, args].concat(), b"").unwrap_or_else(|why| panic!("{why}"));
        String::from_utf8_lossy(&done).trim().to_owned()
    }

    /// Makes an SSH key and gives its public half as one line.
    pub fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        let made = self.run("ssh-keygen", &[&["-q", "-N", "", "-C", "", "-f", name, "-t"], kind].concat(), b"");
        made.unwrap_or_else(|why| panic!("{why}"));
        fs::read_to_string(self.at(&format!("{name}.pub"))).expect("it was made").trim().to_owned()
    }

    /// Makes an OpenPGP key and gives its fingerprint.
    pub fn pgp_key(&self, address: &str, kind: &str, expires: &str) -> String {
        let batch = ["--batch", "--passphrase", "", "--quick-gen-key", address, kind, "sign", expires];
        self.run("gpg", &batch, b"").unwrap_or_else(|why| panic!("{why}"));
        let listed = self.run("gpg", &["--batch", "--with-colons", "--list-keys", address], b"").unwrap_or_else(|why| panic!("{why}"));
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
        line.split(':').nth(9).expect("a fingerprint").to_owned()
    }

    pub fn export(&self, who: &str) -> Vec<u8> {
        self.run("gpg", &["--batch", "--armor", "--export", who], b"").unwrap_or_else(|why| panic!("{why}"))
    }

    /// Commits with an SSH key and gives the object's bytes.
    pub fn ssh_commit(&self, key: &str, words: &str) -> Vec<u8> {
        let key = self.at(key);
        let key = format!("user.signingkey={}", key.display());
        self.git(&["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "--allow-empty", "-m", words]);
        self.object("HEAD")
    }

    pub fn pgp_commit(&self, key: &str, words: &str) -> Vec<u8> {
        let key = format!("user.signingkey={key}");
        self.git(&["-c", &key, "commit", "-q", "-S", "--allow-empty", "-m", words]);
        self.object("HEAD")
    }

    pub fn object(&self, name: &str) -> Vec<u8> {
        let kind = self.git(&["cat-file", "-t", name]);
        self.run("git", &["cat-file", &kind, name], b"").unwrap_or_else(|why| panic!("{why}"))
    }

    /// Puts an object into the repository, as `git` would, and says whether `git` takes its signature as good.
    pub fn git_takes(&self, kind: &str, object: &[u8], signers: &Path) -> bool {
        let Ok(id) = self.run("git", &["hash-object", "-w", "-t", kind, "--literally", "--stdin"], object) else { return false };
        let id = String::from_utf8_lossy(&id).trim().to_owned();
        let signers = format!("gpg.ssh.allowedSignersFile={}", signers.display());
        let verb = if kind == "tag" { "verify-tag" } else { "verify-commit" };
        self.run("git", &["-c", &signers, verb, &id], b"").is_ok()
    }
}

/// Reads a list of allowed signers that has nothing to remark.
pub fn allowed(text: &str) -> Signers {
    let (listed, findings) = read_allowed_signers(text.as_bytes(), "signers");
    assert_eq!(findings, []);
    assembled(listed)
}

pub fn keyring(bytes: &[u8]) -> Signers {
    let (listed, findings) = read_keyring(bytes, "keyring");
    assert_eq!(findings, []);
    assembled(listed)
}

fn assembled(listed: Vec<Listed>) -> Signers {
    let (signers, findings) = Signers::assemble(listed);
    assert_eq!(findings, []);
    signers
}

/// What a commit's signature proves.
pub fn judge(signers: &Signers, commit: &[u8], now: Timestamp) -> Result<Proof, Unproven> {
    let signed = trued_signatures::commit(commit)?.ok_or_else(|| Unproven::new("it is not signed"))?;
    signers.judge(&signed, now)
}

pub fn judge_tag(signers: &Signers, tag: &[u8], now: Timestamp) -> Result<Proof, Unproven> {
    let signed = trued_signatures::tag(tag)?.signed.ok_or_else(|| Unproven::new("it is not signed"))?;
    signers.judge(&signed, now)
}

#[track_caller]
pub fn refused(judged: Result<Proof, Unproven>, words: &str) {
    let why = judged.expect_err("it is refused").to_string();
    assert!(why.contains(words), "{why:?} does not say {words:?}");
}
