//! Health as people write it for kinds of their own: expressions of the Common Expression Language over the object.
//!
//! What an expression may cost is bounded before it runs: the language has no loops but those over what is there, and how
//! deep these nest and how much is there are both known.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{EntryExpr, Expr};
use cel::objects::{Key, Value as Cel};
use cel::parser::{Expression, Parser};
use cel::{Context, Env, ExecutionError};
use serde_json::Value;
use trued_model::{Condition, HealthRule};

/// The longest expression.
const LONGEST: usize = 1_000;
/// How deep one may be written in another.
const DEEPEST: u16 = 32;
/// How deep loops over what is there may nest.
const LOOPS: u32 = 2;
/// How many steps of its loops an expression may take, and how much text counts as one.
const STEPS: usize = 1_000_000;
const TEXT_STEP: usize = 1_000;
/// What an expression may name: the parts of an object.
const NAMES: [&str; 6] = ["apiVersion", "kind", "metadata", "spec", "status", "data"];

/// One kind's expressions, read.
#[derive(Debug)]
pub(crate) struct Expressions {
    degraded: Option<Read>,
    progressing: Option<Read>,
    ready: Read,
}

#[derive(Debug)]
struct Read {
    text: String,
    expression: Expression,
    /// How deep its loops nest.
    loops: u32,
}

impl Expressions {
    /// Reads a rule's expressions; `Err` names the key and what is wrong with it.
    pub fn read(rule: &HealthRule) -> Result<Expressions, (&'static str, String)> {
        let optional = |key, text: &Option<String>| text.as_deref().map(|text| read(text).map_err(|why| (key, why))).transpose();
        Ok(Expressions {
            degraded: optional("degraded", &rule.degraded)?,
            progressing: optional("progressing", &rule.progressing)?,
            ready: read(&rule.ready).map_err(|why| ("ready", why))?,
        })
    }

    /// What the first expression that holds says of an object; where none does, it is on its way.
    pub fn health(&self, object: &Value) -> Condition {
        let judged = [(&self.degraded, "degraded"), (&self.progressing, "progressing")];
        for (read, word) in judged.into_iter().filter_map(|(read, word)| Some((read.as_ref()?, word))) {
            match (read.holds(object), word) {
                (Ok(true), "degraded") => return Condition::degraded(format!("{} holds", read.text)),
                (Ok(true), _) => return Condition::progressing(format!("{} holds", read.text)),
                (Ok(false), _) => {}
                (Err(why), _) => return Condition::unknown(why),
            }
        }
        match self.ready.holds(object) {
            Ok(true) => Condition::ready(),
            Ok(false) => Condition::progressing(format!("{} does not hold", self.ready.text)),
            Err(why) => Condition::unknown(why),
        }
    }
}

fn read(text: &str) -> Result<Read, String> {
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes, and {LONGEST} are taken", text.len()));
    }
    // A parser's own mistake is no reason to end the program.
    let parsed = catch_unwind(|| Parser::new().max_recursion_depth(DEEPEST).parse(text));
    let expression = parsed.map_err(|_| "it cannot be read".to_owned())?.map_err(|errors| {
        let first = errors.errors.first().map(|error| (error.pos.1, error.msg.clone()));
        first.map_or("it cannot be read".to_owned(), |(column, message)| format!("{message} (at character {column})"))
    })?;
    let loops = walk(&expression.expr, &mut Vec::new(), 0)?;
    Ok(Read { text: text.to_owned(), expression, loops })
}

/// How deep loops nest in an expression; refuses what is nested deeper and names that nothing has.
fn walk<'e>(expr: &'e Expr, bound: &mut Vec<&'e str>, inside: u32) -> Result<u32, String> {
    let mut deepest = inside;
    let mut each = |expr: &'e Expr, bound: &mut Vec<&'e str>| -> Result<(), String> {
        deepest = deepest.max(walk(expr, bound, inside)?);
        Ok(())
    };
    match expr {
        Expr::Ident(name) if !NAMES.contains(&name.as_str()) && !bound.contains(&name.as_str()) => {
            return Err(format!("`{name}` is nothing that an object has; there are {}", NAMES.join(", ")));
        }
        Expr::Call(call) => {
            let target = call.target.iter().map(|target| &target.expr);
            for part in target.chain(call.args.iter().map(|argument| &argument.expr)) {
                each(part, bound)?;
            }
        }
        Expr::Comprehension(comprehension) => {
            each(&comprehension.iter_range.expr, bound)?;
            if inside == LOOPS {
                return Err(format!("its loops nest deeper than {LOOPS}"));
            }
            let known = bound.len();
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
            for part in [&comprehension.accu_init, &comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
                deepest = deepest.max(walk(&part.expr, bound, inside + 1)?);
            }
            bound.truncate(known);
        }
        Expr::List(list) => list.elements.iter().try_for_each(|element| each(&element.expr, bound))?,
        Expr::Map(map) => {
            for entry in &map.entries {
                match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        each(&entry.key.expr, bound)?;
                        each(&entry.value.expr, bound)?;
                    }
                    EntryExpr::StructField(field) => each(&field.value.expr, bound)?,
                }
            }
        }
        Expr::Select(select) => each(&select.operand.expr, bound)?,
        Expr::Struct(_) => return Err("it makes a message, which nothing here has".to_owned()),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
    Ok(deepest)
}

impl Read {
    /// Whether it holds for an object. What the object does not have makes nothing hold. No value of the object stands in
    /// the words of an error.
    fn holds(&self, object: &Value) -> Result<bool, String> {
        let about = |what: &str| format!("{}: {what}", self.text);
        let (longest, text) = most(object);
        if self.loops > 0 && longest.saturating_pow(self.loops).saturating_mul(1 + text / TEXT_STEP) > STEPS {
            return Err(about("the object has too much in it to loop over"));
        }
        let mut context = Context::with_env(std::sync::Arc::new(Env::stdlib()));
        for name in NAMES {
            context.add_variable_from_value(name, object.get(name).map_or_else(empty, |value| cel_of(name, value)));
        }
        let resolved = catch_unwind(AssertUnwindSafe(|| context.resolve(&self.expression)));
        match resolved.map_err(|_| about("it broke off"))? {
            Ok(Cel::Bool(holds)) => Ok(holds),
            Ok(_) => Err(about("it is neither true nor false")),
            Err(ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_)) => Ok(false),
            Err(ExecutionError::UndeclaredReference(name)) => Err(about(&format!("there is no `{name}`"))),
            Err(_) => Err(about("it does not fit the object")),
        }
    }
}

fn empty() -> Cel {
    Cel::Map(cel::objects::Map { map: std::sync::Arc::default() })
}

/// The longest list or map of a value, and its longest text.
fn most(value: &Value) -> (usize, usize) {
    let larger = |(list, text): (usize, usize), inner: &Value| {
        let inner = most(inner);
        (list.max(inner.0), text.max(inner.1))
    };
    match value {
        Value::Array(items) => items.iter().fold((items.len(), 0), larger),
        Value::Object(entries) => entries.values().fold((entries.len(), 0), larger),
        Value::String(text) => (0, text.len()),
        _ => (0, 0),
    }
}

/// A value as the language has it; whole numbers are signed.
fn cel_of(name: &str, value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => number.as_i64().map(Cel::Int).or(number.as_f64().map(Cel::Float)).unwrap_or(Cel::Null),
        Value::String(text) => Cel::String(text.clone().into()),
        Value::Array(items) => Cel::List(items.iter().map(|item| cel_of("", item)).collect::<Vec<_>>().into()),
        Value::Object(entries) => {
            // Who owns which field is long, and nobody's health.
            let kept = entries.iter().filter(|(key, _)| !(name == "metadata" && *key == "managedFields"));
            let map = kept.map(|(key, value)| (Key::String(key.clone().into()), cel_of("", value))).collect();
            Cel::Map(cel::objects::Map { map: std::sync::Arc::new(map) })
        }
    }
}
