//! Kubernetes, as a user meets it: the built program against a real API server.

mod admitting;
mod adopting;
mod aggregated;
mod between;
mod bounds;
mod cluster;
mod clusters;
mod faults;
mod first;
mod foreseen;
mod guarding;
mod happening;
mod health;
mod hooks;
mod ignored;
mod in_cluster;
mod lagging;
mod outlasting;
mod reach;
mod sealed;
mod secure;
mod strangers;
