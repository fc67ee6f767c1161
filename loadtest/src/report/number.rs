//! Numbers as people read them.

/// A number with about three significant digits: `41,300,000`, `12.3`, `0.0123`.
pub fn show(number: f64) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor();
    if number.fract() == 0.0 && number.abs() < 10_000.0 {
        return grouped(&format!("{number:.0}"));
    }
    if magnitude >= 3.0 {
        let unit = 10_f64.powf(magnitude - 2.0);
        return grouped(&format!("{:.0}", (number / unit).round() * unit));
    }
    let decimals = (2.0 - magnitude).clamp(0.0, 9.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between 0 and 9"
    )]
    let decimals = decimals as usize;
    format!("{number:.decimals$}")
}

/// A short form for the ticks of an axis: `20 M`, `0.5`.
pub fn short(number: f64) -> String {
    let units = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (unit, suffix) =
        units.into_iter().find(|(unit, _)| number.abs() >= *unit).unwrap_or((1.0, ""));
    // Ticks are round, so a few decimals say all; rounding errors are cut off.
    let text = format!("{:.6}", number / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{suffix}")
}

/// Puts a comma between thousands.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_significant_digits() {
        for (number, text) in [
            (0.0, "0"),
            (5.0, "5"),
            (4096.0, "4,096"),
            (41_312_345.0, "41,300,000"),
            (999_999.0, "1,000,000"),
            (1234.5, "1,230"),
            (12.345, "12.3"),
            (0.012_345, "0.0123"),
            (-1234.5, "-1,230"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(show(number), text);
        }
    }

    #[test]
    fn ticks_are_short() {
        for (number, text) in
            [(0.0, "0"), (20e6, "20 M"), (1500.0, "1.5 k"), (0.25, "0.25"), (0.1 + 0.2, "0.3")]
        {
            assert_eq!(short(number), text);
        }
    }
}
