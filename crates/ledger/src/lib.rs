//! trued-ledger
