//! One Kubernetes control plane on loopback: etcd, the API server and the controllers that need no node. All of it lies in
//! a scratch folder, and ends with this process.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::machine;

/// Waits that only end a run in which something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// A free port may be taken by another before a program has it; then all is started once more.
const ATTEMPTS: u32 = 3;

/// Users by token: tests do everything as `admin`; the others may nothing until a test grants it.
const USERS: &str = "\
admin-token,admin,admin,\"system:masters\"
controllers-token,system:kube-controller-manager,controllers,\"system:masters\"
alice-token,alice,alice,\"people\"
bob-token,bob,bob,\"people\"
";

/// Every request once, without bodies; not those of the cluster's own parts.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- { level: None, users: [\"system:apiserver\", \"system:kube-controller-manager\", \"system:anonymous\"] }
- { level: None, nonResourceURLs: [\"/readyz*\", \"/livez*\", \"/healthz*\"] }
- { level: Metadata }
";

/// The controllers that work without a node.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,\
                           namespace-controller,garbage-collector-controller,job-controller,horizontal-pod-autoscaler-controller";

/// A running control plane. Dropping it ends it and removes its folder.
pub struct Cluster {
    /// Contexts `admin`, `alice`, `bob`, named after their users; the first is the current one.
    pub kubeconfig: PathBuf,
    /// One JSON event a line for each request that the API server has answered.
    pub audit: PathBuf,
    /// Where its audit webhook reports to, should anybody listen there: over https to `/audit/cluster` with `reports-token`, and
    /// to the API server's own certificate.
    pub reports: String,
    running: Vec<Running>,
    folder: PathBuf,
}

/// One of its programs.
struct Running {
    name: &'static str,
    child: Child,
}

impl Cluster {
    /// Starts it from the folder that holds its programs; gives it when requests are answered.
    pub fn start(programs: &Path) -> anyhow::Result<Cluster> {
        machine::need(&[("curl", "curl"), ("setpriv", "util-linux"), ("ssh-keygen", "openssh-client")])?;
        let mut attempt = 1;
        loop {
            match Cluster::attempt(programs) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    fn attempt(programs: &Path) -> anyhow::Result<Cluster> {
        let folder = scratch()?;
        let audit = folder.join("audit.log");
        let (kubeconfig, reports) = (folder.join("kubeconfig"), String::new());
        let mut cluster = Cluster { kubeconfig, audit, reports, running: Vec::new(), folder };
        let [store, peers, api, reports] = free_ports()?;
        cluster.start_etcd(programs, store, peers)?;
        cluster.reports = format!("127.0.0.1:{reports}");
        cluster.start_api_server(programs, store, api)?;
        cluster.write_kubeconfigs(api)?;
        cluster.await_ready(api)?;
        cluster.start_controllers(programs)?;
        Ok(cluster)
    }

    fn start_etcd(&mut self, programs: &Path, store: u16, peers: u16) -> anyhow::Result<()> {
        let mut etcd = Command::new(programs.join("etcd"));
        etcd.arg("--data-dir").arg(self.folder.join("etcd")).arg("--unsafe-no-fsync");
        for (flag, port) in [
            ("--listen-client-urls", store),
            ("--advertise-client-urls", store),
            ("--listen-peer-urls", peers),
            ("--initial-advertise-peer-urls", peers),
        ] {
            etcd.arg(format!("{flag}=http://127.0.0.1:{port}"));
        }
        etcd.arg(format!("--initial-cluster=default=http://127.0.0.1:{peers}"));
        self.spawn("etcd", etcd)
    }

    fn start_api_server(&mut self, programs: &Path, store: u16, api: u16) -> anyhow::Result<()> {
        let key = self.folder.join("service-accounts.key");
        machine::read(Command::new("ssh-keygen").args(["-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-f"]).arg(&key))?;
        std::fs::write(self.folder.join("users.csv"), USERS)?;
        std::fs::write(self.folder.join("audit.yaml"), AUDIT)?;
        let reports = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: reports\ncontexts:\n- {{ name: reports, context: {{ cluster: reports, user: reports }} }}\n\
             clusters:\n- {{ name: reports, cluster: {{ server: \"https://{}/audit/cluster\", certificate-authority: {} }} }}\n\
             users:\n- {{ name: reports, user: {{ token: reports-token }} }}\n",
            self.reports,
            self.folder.join("certificates/apiserver.crt").display()
        );
        std::fs::write(self.folder.join("reports"), reports)?;
        let at = |flag: &str, name: &str| format!("--{flag}={}", self.folder.join(name).display());
        let mut server = Command::new(programs.join("kube-apiserver"));
        server.args([
            format!("--etcd-servers=http://127.0.0.1:{store}"),
            format!("--secure-port={api}"),
            at("cert-dir", "certificates"),
            at("token-auth-file", "users.csv"),
            at("service-account-key-file", "service-accounts.key"),
            at("service-account-signing-key-file", "service-accounts.key"),
            at("audit-policy-file", "audit.yaml"),
            at("audit-log-path", "audit.log"),
            at("audit-webhook-config-file", "reports"),
        ]);
        server.args([
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--disable-admission-plugins=ServiceAccount",
            "--profiling=false",
            "--audit-webhook-batch-max-wait=200ms",
            "--audit-webhook-batch-throttle-enable=false",
            "--audit-webhook-initial-backoff=100ms",
        ]);
        self.spawn("kube-apiserver", server)
    }

    /// The controllers have an own one, so that no test acts as them.
    fn write_kubeconfigs(&self, api: u16) -> anyhow::Result<()> {
        let authority = self.folder.join("certificates/apiserver.crt");
        let text = |users: &[&str]| {
            let first = users.first().copied().unwrap_or_default();
            let mut text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: {first}\nclusters:\n- name: test\n  cluster:\n    \
                 server: https://127.0.0.1:{api}\n    certificate-authority: {}\nusers:\n",
                authority.display()
            );
            for user in users {
                text += &format!("- name: {user}\n  user: {{ token: {user}-token }}\n");
            }
            text += "contexts:\n";
            for user in users {
                text += &format!("- name: {user}\n  context: {{ cluster: test, user: {user} }}\n");
            }
            text
        };
        std::fs::write(&self.kubeconfig, text(&["admin", "alice", "bob"]))?;
        // Tests about denied access run as another uid, and this is a cluster for an hour.
        std::fs::set_permissions(&self.kubeconfig, std::fs::Permissions::from_mode(0o644))?;
        std::fs::write(self.folder.join("controllers"), text(&["controllers"]))?;
        Ok(())
    }

    fn await_ready(&mut self, api: u16) -> anyhow::Result<()> {
        let began = Instant::now();
        let authority = self.folder.join("certificates/apiserver.crt");
        loop {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--noproxy", "*", "--max-time", "10", "--cacert"]).arg(&authority);
            if machine::read(curl.arg(format!("https://127.0.0.1:{api}/readyz"))).is_ok() {
                return Ok(());
            }
            for program in &mut self.running {
                if let Some(status) = program.child.try_wait()? {
                    bail!("{} ended ({status})\n{}", program.name, last_lines(&self.folder.join(program.name).with_extension("log")));
                }
            }
            let log = || last_lines(&self.folder.join("kube-apiserver.log"));
            ensure!(began.elapsed() < PATIENCE, "the API server is not ready after {} s\n{}", PATIENCE.as_secs(), log());
            sleep(Duration::from_millis(50));
        }
    }

    fn start_controllers(&mut self, programs: &Path) -> anyhow::Result<()> {
        let mut controllers = Command::new(programs.join("kube-controller-manager"));
        controllers.arg(format!("--controllers={CONTROLLERS}")).arg("--kubeconfig").arg(self.folder.join("controllers"));
        controllers.args(["--leader-elect=false", "--secure-port=0", "--profiling=false"]);
        controllers.args(["--kube-api-qps=500", "--kube-api-burst=1000", "--horizontal-pod-autoscaler-sync-period=2s"]);
        self.spawn("kube-controller-manager", controllers)
    }

    /// Starts a program that the kernel ends when this one ends, however that is.
    fn spawn(&mut self, name: &'static str, command: Command) -> anyhow::Result<()> {
        let log = File::create(self.folder.join(name).with_extension("log"))?;
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        bound.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = bound.spawn().with_context(|| format!("failed to start {name}"))?;
        self.running.push(Running { name, child });
        Ok(())
    }
}

impl Drop for Cluster {
    /// Ends the newest first. There is nothing in it that anybody needs, so none is asked to end in order.
    fn drop(&mut self) {
        for mut program in self.running.drain(..).rev() {
            let _ = program.child.kill();
            let _ = program.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A fresh folder below the build folder. Those of runs that were killed go now.
fn scratch() -> anyhow::Result<PathBuf> {
    let base = machine::target()?.join("xtask/clusters");
    std::fs::create_dir_all(&base)?;
    for entry in std::fs::read_dir(&base)? {
        let entry = entry?;
        if !Path::new("/proc").join(entry.file_name()).exists() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    let folder = base.join(std::process::id().to_string());
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

/// Ports that nobody listens on.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    for _ in 0..N {
        held.push(TcpListener::bind(("127.0.0.1", 0)).context("failed to find a free port")?);
    }
    let ports = held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect::<Result<Vec<_>, _>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("no free ports"))
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
