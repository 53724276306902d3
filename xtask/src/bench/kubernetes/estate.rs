//! The repositories that are applied, and the cluster they are applied to.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::super::Ground;
use crate::machine;
use crate::partners::Partners;

/// How long the server takes to log what it has answered.
const LOGGED_WITHIN: Duration = Duration::from_millis(500);

/// Stacks that the bare client writes at once: as many as trued walks.
const ABREAST: &str = "64";

/// One repository of stacks in one namespace of its own.
pub struct Estate {
    pub folder: PathBuf,
    pub stacks: usize,
    namespace: String,
    program: PathBuf,
    kubeconfig: PathBuf,
    audit: PathBuf,
}

impl Estate {
    /// `stacks` applications of four objects each, committed, and an empty namespace for them.
    pub fn of_applications(ground: &Ground, partners: &Partners, name: &str, stacks: usize) -> anyhow::Result<Estate> {
        let estate = Estate::empty(ground, partners, name, stacks)?;
        for at in 0..stacks {
            estate.write_application(at, 1)?;
        }
        estate.configure(&[])?;
        estate.commit("all")?;
        Ok(estate)
    }

    /// One stack of `objects` ConfigMaps.
    pub fn of_one(ground: &Ground, partners: &Partners, name: &str, objects: usize) -> anyhow::Result<Estate> {
        let estate = Estate::empty(ground, partners, name, 0)?;
        fs::create_dir(estate.folder.join("maps"))?;
        for part in 0..objects.div_ceil(100) {
            let maps = (part * 100..objects.min(part * 100 + 100)).map(config_map);
            let text: Vec<String> = maps.map(|map| map.to_string()).collect();
            fs::write(estate.folder.join(format!("maps/{part}.yaml")), text.join("\n---\n"))?;
        }
        estate.configure(&[("maps".to_owned(), "")])?;
        estate.commit("all")?;
        Ok(estate)
    }

    fn empty(ground: &Ground, partners: &Partners, name: &str, stacks: usize) -> anyhow::Result<Estate> {
        let folder = ground.fresh(name)?;
        let kubeconfig = partners.path("TRUED_TEST_KUBECONFIG").context("no kubeconfig")?;
        let audit = partners.path("TRUED_TEST_KUBE_AUDIT").context("no audit log")?;
        let namespace = format!("bench-{name}");
        let estate = Estate { folder, stacks, namespace, program: ground.program.clone(), kubeconfig, audit };
        estate.git(&["init", "-q"])?;
        fs::write(estate.folder.join(".gitignore"), ".trued/\n")?;
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": estate.namespace } });
        estate.bare(&[vec![json!({ "path": format!("/api/v1/namespaces/{}", estate.namespace), "object": namespace })]], "1")?;
        Ok(estate)
    }

    /// Writes the stacks down: the applications, and others with what is said of them besides.
    pub fn configure(&self, others: &[(String, &str)]) -> anyhow::Result<()> {
        let mut text = format!("targets:\n  cluster: {{ kubernetes: {{ kubeconfig: {} }} }}\nstacks:\n", self.kubeconfig.display());
        let applications = (0..self.stacks).map(|at| (application(at), ""));
        for (name, more) in applications.chain(others.iter().cloned()) {
            text += &format!("  {name}: {{ path: {name}, into: {}, target: cluster, {more} }}\n", self.namespace);
        }
        Ok(fs::write(self.folder.join("trued.yaml"), text)?)
    }

    /// One application's folder, in its nth version.
    pub fn write_application(&self, at: usize, version: usize) -> anyhow::Result<()> {
        let folder = self.folder.join(application(at));
        fs::create_dir_all(&folder)?;
        let objects: Vec<String> = objects(at, version).iter().map(Value::to_string).collect();
        Ok(fs::write(folder.join("all.yaml"), objects.join("\n---\n"))?)
    }

    /// A folder of one Deployment, of which some replicas are asked for: nobody runs them here.
    pub fn write_deployment(&self, name: &str, replicas: usize) -> anyhow::Result<()> {
        fs::create_dir_all(self.folder.join(name))?;
        Ok(fs::write(self.folder.join(name).join("all.yaml"), deployment(name, 1, replicas).to_string())?)
    }

    pub fn commit(&self, why: &str) -> anyhow::Result<()> {
        self.git(&["add", "-A"])?;
        self.git(&["-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", why])
    }

    fn git(&self, words: &[&str]) -> anyhow::Result<()> {
        machine::read(Command::new("git").args(words).current_dir(&self.folder)).map(|_| ())
    }

    pub fn trued(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.folder).stderr(Stdio::null());
        command.env_remove("TRUED_CONFIG").env_remove("TRUED_STATE").env("TRUED_COUNTERS", self.folder.join(".git/counters"));
        command
    }

    /// Counters of the process that wrote them last.
    pub fn counters(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(self.folder.join(".git/counters"))?)?)
    }

    /// The same objects in the same namespace, for the bare client.
    pub fn bare_command(&self) -> anyhow::Result<Command> {
        let lines: Vec<Vec<Value>> = (0..self.stacks).map(|at| self.placed(objects(at, 1))).collect();
        self.prepare_bare(&lines, ABREAST)
    }

    /// ConfigMaps, spread over as many lines as are written at once.
    pub fn bare_maps(&self, objects: usize, abreast: usize) -> anyhow::Result<Command> {
        let mut lines = vec![Vec::new(); abreast];
        for at in 0..objects {
            lines[at % abreast].extend(self.placed(vec![config_map(at)]));
        }
        self.prepare_bare(&lines, &abreast.to_string())
    }

    /// A stranger's hand on the first so many Deployments.
    pub fn scale_by_hand(&self, first: usize, replicas: usize) -> anyhow::Result<()> {
        let one = |at: usize| {
            let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": application(at) }, "spec": { "replicas": replicas } });
            self.placed(vec![object])
        };
        self.bare(&(0..first).map(one).collect::<Vec<_>>(), ABREAST)
    }

    fn placed(&self, objects: Vec<Value>) -> Vec<Value> {
        let place = |mut object: Value| {
            let plural = match object["kind"].as_str().unwrap_or_default() {
                "Ingress" => "ingresses".to_owned(),
                kind => format!("{}s", kind.to_lowercase()),
            };
            let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
            let root = if version.contains('/') { "apis" } else { "api" };
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            object["metadata"]["namespace"] = self.namespace.as_str().into();
            json!({ "path": format!("/{root}/{version}/namespaces/{}/{plural}/{name}", self.namespace), "object": object })
        };
        objects.into_iter().map(place).collect()
    }

    fn prepare_bare(&self, lines: &[Vec<Value>], abreast: &str) -> anyhow::Result<Command> {
        let file = self.folder.join(".git/objects.jsonl");
        let mut to = File::create(&file)?;
        for line in lines {
            writeln!(to, "{}", serde_json::to_string(line)?)?;
        }
        let mut command = Command::new(self.program.with_file_name("examples").join("bare_apply"));
        command.arg(&self.kubeconfig).arg(file).arg(abreast);
        Ok(command)
    }

    fn bare(&self, lines: &[Vec<Value>], abreast: &str) -> anyhow::Result<()> {
        let mut command = self.prepare_bare(lines, abreast)?;
        ensure!(command.status().context("failed to start bare_apply")?.success(), "the cluster refused the bare client");
        Ok(())
    }

    /// Where the audit log ends now.
    pub fn audited(&self) -> anyhow::Result<u64> {
        std::thread::sleep(LOGGED_WITHIN);
        Ok(fs::metadata(&self.audit)?.len())
    }

    /// All requests of trued since a place in the audit log: discovery, lists and watches too.
    pub fn requests_since(&self, place: u64) -> anyhow::Result<usize> {
        std::thread::sleep(LOGGED_WITHIN);
        let mut log = File::open(&self.audit)?;
        log.seek(SeekFrom::Start(place))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        let events = text.lines().filter(|line| line.contains("\"userAgent\":\"trued/"));
        let ids = events.filter_map(|line| line.split_once("\"auditID\":\"")?.1.split('"').next());
        Ok(ids.collect::<std::collections::BTreeSet<_>>().len())
    }

    /// Entries of a kind on record.
    pub fn entries(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let said = machine::read(&mut self.trued(&["log", "--kind", kind, "--output", "json"]))?;
        said.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// What `status` says; its exit code tells whether all is well.
    pub fn status(&self) -> anyhow::Result<Value> {
        let said = self.trued(&["status", "--output", "json"]).output()?;
        serde_json::from_slice(&said.stdout).context("no status")
    }

    /// Starts `serve`, and waits until it has made everything so once.
    pub fn serve(&self) -> anyhow::Result<Serving> {
        let log = File::create(self.folder.join(".git/serve.log"))?;
        let child = self.trued(&["serve", "--poll", "100ms"]).stdout(Stdio::null()).stderr(log).spawn().context("failed to start serve")?;
        Ok(Serving { child })
    }
}

/// A running `serve`; ended when dropped.
pub struct Serving {
    child: Child,
}

impl Serving {
    /// Processor time that it has used, user and system.
    pub fn used(&self) -> anyhow::Result<Duration> {
        used(&fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?, 13)
    }

    /// Memory that is resident now, and the most that ever was, in MiB.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |key: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no memory in /proc")?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// Waits until it has used next to nothing for two seconds.
    pub fn quiet(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut before = self.used()?;
        let mut calm = 0;
        while calm < 4 {
            ensure!(began.elapsed() < Duration::from_secs(600), "serve did not come to rest in ten minutes");
            std::thread::sleep(Duration::from_millis(500));
            let now = self.used()?;
            calm = if now.saturating_sub(before) <= Duration::from_millis(30) { calm + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// Has the counters written, and waits for them.
    pub fn count(&self, estate: &Estate) -> anyhow::Result<Value> {
        let file = estate.folder.join(".git/counters");
        let _ = fs::remove_file(&file);
        machine::read(Command::new("kill").args(["-USR1", &self.child.id().to_string()]))?;
        while !file.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        estate.counters()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = machine::read(Command::new("kill").arg(self.child.id().to_string()));
        let _ = self.child.wait();
    }
}

/// Processor time in a line of `/proc/PID/stat`: user and system, two fields from one on, in hundredths of a second.
pub fn used(stat: &str, from: usize) -> anyhow::Result<Duration> {
    // The program's name stands in parentheses and may hold spaces; it is the second field.
    let rest = stat.rsplit_once(')').context("no process")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| -> anyhow::Result<u64> { Ok(fields.get(field - 2).context("too few fields")?.parse()?) };
    Ok(Duration::from_millis((ticks(from)? + ticks(from + 1)?) * 10))
}

fn application(at: usize) -> String {
    format!("app{at}")
}

fn objects(at: usize, version: usize) -> Vec<Value> {
    let name = application(at);
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
                "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] } }),
        deployment(&name, version, 0),
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": name },
                "spec": { "defaultBackend": { "service": { "name": name, "port": { "number": 80 } } } } }),
    ]
}

fn deployment(name: &str, version: usize, replicas: usize) -> Value {
    let container = json!({
        "name": "web", "image": format!("registry.localhost/web:{version}"), "ports": [{ "containerPort": 8080 }],
        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
    });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": name } },
                      "template": { "metadata": { "labels": { "app": name } }, "spec": { "serviceAccountName": name, "containers": [container] } } } })
}

fn config_map(at: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("map{at}") }, "data": { "at": at.to_string(), "text": "some text. ".repeat(at % 90) } })
}

/// The processor time of all children that this process has waited for.
pub fn children() -> anyhow::Result<Duration> {
    used(&fs::read_to_string("/proc/self/stat")?, 15)
}

/// Waits for something, and says how long it took.
pub fn until(what: &str, mut so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while !so()? {
        ensure!(began.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(began.elapsed())
}
