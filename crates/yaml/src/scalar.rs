//! What a plain value means: YAML 1.1 as the Kubernetes decoder reads it, not YAML 1.2.
//!
//! The rules are those of `sigs.k8s.io/yaml` (go-yaml v2): `no` is false, `0777` is octal, `1_000` a number, `1:30`,
//! `2001-01-01` and `1e999` are text.

use serde_json::Number;

use crate::Value;

/// Why a value has no JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Infinity or not a number.
    NotFinite,
    /// The value is not what its tag says.
    NotItsTag,
}

/// Reads a plain value without a tag.
pub(crate) fn plain(text: &str) -> Result<Value, Unfit> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Ok(Value::Bool(false)),
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return Err(Unfit::NotFinite);
        }
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        _ => None,
    };
    Ok(number.map_or_else(|| Value::Text(text.to_owned()), Value::Number))
}

/// Reads a value that a core tag (`int`, `str`, …) stands before.
pub(crate) fn tagged(tag: &str, text: &str) -> Result<Value, Unfit> {
    if tag == "str" {
        return Ok(Value::Text(text.to_owned()));
    }
    let value = plain(text)?;
    let fits = match &value {
        Value::Null => tag == "null",
        Value::Bool(_) => tag == "bool",
        Value::Number(number) => tag == "float" || tag == "int" && !number.is_f64() && integer(&text.replace('_', "")).is_some(),
        _ => false,
    };
    fits.then_some(value).ok_or(Unfit::NotItsTag)
}

/// An optional sign, then `0x`, `0o`, `0b`, a leading `0` for octal, or decimal digits, within 64 bits.
fn integer(text: &str) -> Option<Number> {
    let sign = text.as_bytes().first().filter(|byte| matches!(byte, b'-' | b'+'));
    let digits = &text[usize::from(sign.is_some())..];
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match () {
        () if lower.starts_with("0x") => (16, &lower[2..]),
        () if lower.starts_with("0o") => (8, &lower[2..]),
        () if lower.starts_with("0b") => (2, &lower[2..]),
        () if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        () => (10, lower.as_str()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match sign {
        None => Some(size.into()),
        Some(b'-') if size <= 1 << 63 => Some((size as i64).wrapping_neg().into()),
        Some(b'-') => None,
        Some(_) => i64::try_from(size).ok().map(Number::from),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; one that is whole stays whole, as JSON writes it.
fn float(text: &str) -> Option<Number> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (body, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !shaped || exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return None;
    }
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    // Up to 2^53 every whole number is exact.
    match value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        true => Some((value as i64).into()),
        false => Number::from_f64(value),
    }
}
