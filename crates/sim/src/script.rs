//! A random world from a seed: what is configured, and what happens to it, step by step.

use trued_model::{Code, Command, DriftPolicy, OnExisting};

use crate::chance::Chance;
use crate::target::Edit;

/// What a world is made of; printed when it fails.
#[derive(Clone, Debug)]
pub struct Options {
    pub stacks: u64,
    pub targets: u64,
    /// Whether stacks on one target share its root, so that they can want the same addresses.
    pub shared: bool,
    pub serves: bool,
    pub confirms: bool,
    pub checks_epochs: bool,
    pub commands: bool,
    pub checks: bool,
    pub rolls_back: bool,
    pub takes_over: bool,
    pub drift: DriftPolicy,
    /// How long a target takes to answer, in milliseconds.
    pub millis: u64,
    /// Which kinds of trouble may come: swarm testing leaves some out of every world.
    pub crashes: bool,
    pub strangers: bool,
    pub faults: bool,
    pub rewinds: bool,
    pub outages: bool,
    pub people: bool,
    pub renames: bool,
    pub seconds: bool,
    pub steps: u64,
}

impl Options {
    pub fn new(chance: &mut Chance) -> Options {
        Options {
            stacks: 2 + chance.below(3),
            targets: 1 + chance.below(2),
            shared: chance.one_in(2),
            serves: chance.one_in(4),
            confirms: !chance.one_in(4),
            checks_epochs: !chance.one_in(4),
            commands: chance.one_in(3),
            checks: chance.one_in(3),
            rolls_back: chance.one_in(2),
            takes_over: chance.one_in(3),
            drift: [DriftPolicy::Revert, DriftPolicy::Revert, DriftPolicy::Alert, DriftPolicy::Hold][chance.below(4) as usize],
            millis: [0, 0, 3, 40][chance.below(4) as usize],
            crashes: chance.one_in(2),
            strangers: chance.one_in(2),
            faults: chance.one_in(2),
            rewinds: chance.one_in(3),
            outages: chance.one_in(3),
            people: chance.one_in(2),
            renames: chance.one_in(3),
            seconds: chance.one_in(4),
            steps: 6 + chance.below(12),
        }
    }

    pub fn on_existing(&self) -> OnExisting {
        if self.takes_over { OnExisting::TakeOver } else { OnExisting::Hold }
    }

    pub fn on_change(&self) -> Vec<Command> {
        let command = |name: &str| Command { name: name.to_owned(), argv: vec![name.to_owned()] };
        if self.commands { vec![command("reload"), command("purge")] } else { Vec::new() }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// Changes some files and commits them.
    Commit(Vec<Touch>),
    Rewind(u64),
    Reachable(bool),
    Stranger {
        target: u64,
        stack: u64,
        file: u64,
        edit: Edit,
    },
    Fault {
        target: u64,
        fault: Fault,
    },
    /// A pass, or half a minute of serving.
    Pass,
    /// A pass that waits until all is ready or its time is over.
    Apply,
    /// The same, and the process dies at this place on the way.
    PassAndDie(u64),
    Kill,
    Wait(u64),
    Jump(i64),
    Approve(u64),
    Answer(u64, u64),
    Suspend(u64),
    Resume(u64),
    RollBack(u64),
    Rename(u64),
    Unconfigure(u64),
    Configure(u64),
    Unreadable(u64, bool),
    FailCheck(u64, bool),
    FailCommand(bool),
    /// Another process makes a pass while this one is stopped.
    Second,
}

/// One edit in the source.
#[derive(Clone, Debug)]
pub enum Touch {
    Write {
        stack: u64,
        file: u64,
        text: u64,
    },
    Remove {
        stack: u64,
        file: u64,
    },
    Empty {
        stack: u64,
    },
    Fill {
        stack: u64,
    },
    Break {
        stack: u64,
        broken: bool,
    },
    /// From one stack's folder to another's.
    Move {
        from: u64,
        to: u64,
        file: u64,
    },
    /// A file becomes a folder, or a folder a file.
    Turn {
        stack: u64,
    },
    EmptyFolder {
        stack: u64,
        there: bool,
    },
}

/// One thing that goes wrong on a target.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    Away,
    Unseen,
    Hidden { stack: u64, file: u64 },
    LostReplies(u32),
    Refusals(Code, u32),
    Forbidden { stack: u64, file: u64 },
    Room(u32),
    Hangs,
    Meddling { stack: u64, file: u64, edit: Edit },
}

/// Files that every stack may have.
pub const FILES: [&str; 7] = ["a", "b", "c/d", "c/e", "f", "g/h/i", "j"];

/// Writes the script of a world.
pub fn script(chance: &mut Chance, options: &Options) -> Vec<Step> {
    let mut steps = vec![Step::Commit((0..options.stacks).map(|stack| Touch::Fill { stack }).collect())];
    if chance.one_in(4) {
        for _ in 0..2 {
            steps.push(stranger(chance, options));
        }
    }
    steps.push(Step::Pass);
    for _ in 0..options.steps {
        let step = one(chance, options);
        let acts = !matches!(step, Step::Pass | Step::PassAndDie(_) | Step::Second);
        steps.push(step);
        if acts && chance.one_in(2) {
            steps.push(Step::Pass);
        }
    }
    steps
}

/// The same with more time and more waiting in it, for worlds in which things become ready or do not.
pub fn unwell(chance: &mut Chance, steps: Vec<Step>) -> Vec<Step> {
    let mut more = Vec::new();
    for step in steps {
        more.push(step);
        match chance.below(6) {
            0 | 1 => more.push(Step::Apply),
            2 => more.push(Step::Wait(1 + chance.below(40))),
            3 => more.extend([Step::Wait(1 + chance.below(40)), Step::Pass]),
            _ => {}
        }
    }
    more
}

fn one(chance: &mut Chance, options: &Options) -> Step {
    loop {
        let stack = chance.below(options.stacks);
        return match chance.below(24) {
            0..5 => Step::Commit((0..1 + chance.below(3)).map(|_| touch(chance, options)).collect()),
            5 | 6 => Step::Pass,
            7 | 8 if options.crashes => Step::PassAndDie(chance.below(40)),
            9 if options.crashes => Step::Kill,
            10 | 11 if options.strangers => stranger(chance, options),
            12 | 13 if options.faults => Step::Fault { target: chance.below(options.targets), fault: fault(chance, options) },
            14 if options.rewinds => Step::Rewind(1 + chance.below(3)),
            15 if options.outages => Step::Reachable(chance.one_in(2)),
            16 => Step::Wait(1 + chance.below(90)),
            17 if options.people => Step::Approve(chance.draw()),
            18 if options.people => Step::Answer(chance.draw(), chance.draw()),
            19 if options.people => match chance.below(5) {
                0 | 1 => Step::Suspend(stack),
                2 | 3 => Step::Resume(stack),
                _ => Step::RollBack(stack),
            },
            20 if options.renames => match chance.below(4) {
                0 => Step::Rename(stack),
                1 => Step::Unconfigure(stack),
                2 => Step::Configure(stack),
                _ => Step::Unreadable(stack, chance.one_in(2)),
            },
            21 if options.checks => Step::FailCheck(stack, chance.one_in(2)),
            21 if options.commands => Step::FailCommand(chance.one_in(2)),
            22 if options.seconds => Step::Second,
            23 => Step::Jump(chance.below(7_200_000) as i64 - 3_600_000),
            _ => continue,
        };
    }
}

fn stranger(chance: &mut Chance, options: &Options) -> Step {
    Step::Stranger {
        target: chance.below(options.targets),
        stack: chance.below(options.stacks),
        file: chance.below(FILES.len() as u64),
        edit: edit(chance),
    }
}

fn edit(chance: &mut Chance) -> Edit {
    match chance.below(5) {
        0 => Edit::Remove,
        1 => Edit::Recreate,
        _ => Edit::Write(format!("strange {}", chance.below(4))),
    }
}

fn touch(chance: &mut Chance, options: &Options) -> Touch {
    let (stack, file) = (chance.below(options.stacks), chance.below(FILES.len() as u64));
    match chance.below(16) {
        0..7 => Touch::Write { stack, file, text: chance.below(5) },
        7..10 => Touch::Remove { stack, file },
        10 => Touch::Empty { stack },
        11 => Touch::Fill { stack },
        12 => Touch::Break { stack, broken: chance.one_in(2) },
        13 if options.shared => Touch::Move { from: stack, to: chance.below(options.stacks), file },
        14 if !options.shared => Touch::Turn { stack },
        15 if !options.shared => Touch::EmptyFolder { stack, there: chance.one_in(2) },
        _ => Touch::Fill { stack },
    }
}

fn fault(chance: &mut Chance, options: &Options) -> Fault {
    let (stack, file) = (chance.below(options.stacks), chance.below(FILES.len() as u64));
    let codes = [Code::Unreachable, Code::TimedOut, Code::Denied, Code::Invalid, Code::Unknown];
    match chance.below(12) {
        0 => Fault::Away,
        1 => Fault::Unseen,
        2 | 3 => Fault::Hidden { stack, file },
        4 | 5 => Fault::LostReplies(1 + chance.below(3) as u32),
        6 => Fault::Refusals(codes[chance.below(5) as usize], 1 + chance.below(3) as u32),
        7 => Fault::Forbidden { stack, file },
        8 => Fault::Room(chance.below(4) as u32),
        9 => Fault::Hangs,
        10 => Fault::Meddling { stack, file, edit: edit(chance) },
        _ => Fault::None,
    }
}
