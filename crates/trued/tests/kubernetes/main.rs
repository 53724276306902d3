//! Kubernetes, as a user meets it: the built program against a real API server.

mod cluster;
mod first;
mod guarding;
mod happening;
mod health;
mod in_cluster;
mod outlasting;
mod reach;
mod strangers;
