//! The rooms of the house: what each crate may lean on, and in which ring its tests run. A drawing of ARCHITECTURE.md.

/// When a crate's tests run: the quickest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ring {
    Tidy = 1,
    CheckAndSim = 2,
    RealThing = 3,
    ScriptsAndCrash = 4,
}

impl Ring {
    pub const ALL: [Ring; 4] = [Ring::Tidy, Ring::CheckAndSim, Ring::RealThing, Ring::ScriptsAndCrash];

    pub fn title(self) -> &'static str {
        match self {
            Ring::Tidy => "tidy",
            Ring::CheckAndSim => "check and sim",
            Ring::RealThing => "against the real thing",
            Ring::ScriptsAndCrash => "scripts and crash",
        }
    }

    pub fn parse(text: &str) -> Option<Ring> {
        Ring::ALL.into_iter().find(|ring| text == ring.title() || text.parse() == Ok(*ring as u8))
    }
}

/// One crate.
pub struct Room {
    pub name: &'static str,
    /// Our crates that it may depend on.
    pub leans_on: &'static [&'static str],
    /// Our crates that its tests may use besides.
    pub tests_lean_on: &'static [&'static str],
    /// All it may have from outside, where that is part of the promise; `None` leaves it open.
    pub outside: Option<&'static [&'static str]>,
    pub ring: Ring,
}

const fn room(name: &'static str, leans_on: &'static [&'static str], ring: Ring) -> Room {
    Room { name, leans_on, tests_lean_on: &[], outside: None, ring }
}

/// All rooms but the drivers, which share one: [`driver`].
const ROOMS: &[Room] = &[
    Room {
        outside: Some(&["jiff", "serde", "serde_json", "serde_json_canonicalizer", "sha2", "thiserror", "zeroize"]),
        ..room("trued-model", &[], Ring::CheckAndSim)
    },
    Room { outside: Some(&["globset", "serde", "serde_json"]), ..room("trued-engine", &["trued-model"], Ring::CheckAndSim) },
    room("trued-doors", &["trued-model"], Ring::CheckAndSim),
    room("trued-yaml", &["trued-model"], Ring::CheckAndSim),
    room("trued-net", &[], Ring::CheckAndSim),
    Room { outside: Some(&[]), ..room("trued-spread", &[], Ring::CheckAndSim) },
    room("trued-config", &["trued-model", "trued-doors", "trued-yaml", "trued-net"], Ring::CheckAndSim),
    room("trued-signatures", &["trued-model"], Ring::RealThing),
    Room {
        tests_lean_on: &["trued-sandbox"],
        ..room(
            "trued-sources",
            &["trued-model", "trued-doors", "trued-net", "trued-signatures", "trued-spread", "trued-yaml"],
            Ring::RealThing,
        )
    },
    room("trued-render", &["trued-model", "trued-doors", "trued-spread", "trued-yaml"], Ring::CheckAndSim),
    room("trued-sandbox", &["trued-model", "trued-doors"], Ring::RealThing),
    room("trued-checks", &["trued-model", "trued-doors", "trued-net"], Ring::RealThing),
    room("trued-secrets", &["trued-model", "trued-doors", "trued-yaml"], Ring::CheckAndSim),
    room("trued-ledger", &["trued-model", "trued-doors"], Ring::RealThing),
    Room { tests_lean_on: &["trued-ledger"], ..room("trued-runtime", &["trued-model", "trued-engine", "trued-doors"], Ring::CheckAndSim) },
    Room {
        tests_lean_on: &["trued-ledger"],
        ..room("trued-server", &["trued-model", "trued-engine", "trued-doors", "trued-runtime"], Ring::RealThing)
    },
    room("trued-sim", &["trued-model", "trued-engine", "trued-doors", "trued-runtime", "trued-ledger"], Ring::CheckAndSim),
    room(
        "trued",
        &[
            "trued-model",
            "trued-engine",
            "trued-doors",
            "trued-yaml",
            "trued-config",
            "trued-sources",
            "trued-render",
            "trued-sandbox",
            "trued-checks",
            "trued-secrets",
            "trued-ledger",
            "trued-runtime",
            "trued-server",
            DRIVERS,
        ],
        Ring::ScriptsAndCrash,
    ),
    room(
        "trued-fuzz",
        &[
            "trued-model",
            "trued-doors",
            "trued-yaml",
            "trued-config",
            "trued-net",
            "trued-sources",
            "trued-render",
            "trued-checks",
            "trued-secrets",
            "trued-signatures",
            "trued-ledger",
            "trued-server",
            DRIVERS,
        ],
        Ring::CheckAndSim,
    ),
    room("xtask", &[], Ring::CheckAndSim),
];

/// Stands for every crate below `crates/drivers/`.
pub const DRIVERS: &str = "drivers";

/// A driver knows the nouns, the doors, the front door for YAML and how work is spread, and nothing of the house behind them.
const DRIVER: Room = room(DRIVERS, &["trued-model", "trued-doors", "trued-spread", "trued-yaml"], Ring::RealThing);

/// Finds a crate's room; `None` when nobody has said where it stands.
pub fn of(name: &str, is_driver: bool) -> Option<&'static Room> {
    if is_driver { Some(&DRIVER) } else { ROOMS.iter().find(|room| room.name == name) }
}

/// Crates that must link nothing of these, however deep: what is decided and walked stays free of the world.
pub const UNLINKED: &[(&str, &[&str])] =
    &[("trued-engine", WORLD), ("trued-runtime", WORLD), ("trued-config", WORLD), ("trued-sim", WORLD)];

/// Libraries that reach Git, the network, a database or TLS.
const WORLD: &[&str] = &["gix", "reqwest", "hyper", "rustls", "rusqlite", "axum", "notify"];
