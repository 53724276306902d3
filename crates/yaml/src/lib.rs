//! trued-yaml
