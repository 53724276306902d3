//! Renderers of Kubernetes objects, from outside: the built program, the real `kustomize`, `helm` and `jsonnet`, confined.

mod chain;
mod dependencies;
mod helm;
mod jsonnet;
mod kit;
mod kustomize;
mod pulled;
mod registry;
mod roads;
mod stream;
