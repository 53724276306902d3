//! A yardstick: applies objects, server-side, and does nothing else. `KUBECONFIG FILE ABREAST`; each line of the file is a JSON
//! array of `{ "path", "object" }`, written one after the other; so many lines at once.

use std::path::PathBuf;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let mut words = std::env::args_os().skip(1);
    let mut word = || words.next().ok_or("usage: bare_apply KUBECONFIG FILE ABREAST");
    let (kubeconfig, file) = (PathBuf::from(word()?), PathBuf::from(word()?));
    let abreast: usize = word()?.to_string_lossy().parse()?;
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let text = std::fs::read_to_string(file)?;
    let stacks = text.lines().map(serde_json::from_str).collect::<Result<Vec<Vec<Value>>, _>>()?;
    let each = stacks.into_iter().map(|objects| write(client.clone(), objects));
    stream::iter(each).buffer_unordered(abreast).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn write(client: Client, objects: Vec<Value>) -> Result<(), Fault> {
    for item in objects {
        let path = item["path"].as_str().ok_or("an item without a path")?;
        let request = http::Request::patch(format!("{path}?fieldManager=bare&force=true"));
        let request = request.header("content-type", "application/apply-patch+yaml").body(serde_json::to_vec(&item["object"])?)?;
        client.request::<Value>(request).await?;
    }
    Ok(())
}
