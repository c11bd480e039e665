//! Decimal yuan strings, as the APIs write them, to fen and back. No floating point.

/// `"12.50"` → 1250. Accepts a leading minus, up to two decimals; anything else is `None`.
pub fn parse_yuan(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, cents) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(cents) || cents.len() > 2 {
        return None;
    }
    let cents_fen = match cents.len() {
        0 => 0,
        1 => cents.parse::<i64>().ok()? * 10,
        _ => cents.parse::<i64>().ok()?,
    };
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents_fen)?.checked_mul(sign)
}

/// The amount in the field `name` of a JSON object. Fen.
pub fn yuan_field(object: &serde_json::Value, name: &str) -> Option<i64> {
    object.get(name)?.as_str().and_then(parse_yuan)
}

/// 1250 → `"12.50"`.
pub fn format_yuan(amount_fen: i64) -> String {
    let sign = if amount_fen < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", amount_fen.unsigned_abs() / 100, amount_fen.unsigned_abs() % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_become_fen_and_fen_become_yuan() {
        for (text, fen) in
            [("12.50", 1_250), ("0.00", 0), ("-500.00", -50_000), ("-0.05", -5), ("1000000.00", 100_000_000)]
        {
            assert_eq!(parse_yuan(text), Some(fen));
            assert_eq!(format_yuan(fen), text);
        }
        assert_eq!((parse_yuan("7"), parse_yuan("7.5")), (Some(700), Some(750)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-", ".5", "1.234", "1,000.00", "1e3", "+1.00", " 1.00", "99999999999999999999"] {
            assert_eq!(parse_yuan(text), None, "{text:?}");
        }
    }
}
