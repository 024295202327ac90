//! Numbers in a form for people.

/// Formats a number of bytes, as in `2.0K`.
pub fn bytes(count: u64) -> String {
    let units = ["B", "K", "M", "G", "T"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count}B"),
        _ if value < 10.0 => format!("{value:.1}{}", units[unit]),
        _ => format!("{value:.0}{}", units[unit]),
    }
}

/// Formats a number of seconds, as in `1h01m`.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(bytes(999), "999B");
        assert_eq!(bytes(2048), "2.0K");
        assert_eq!(bytes(50 << 20), "50M");
        assert_eq!(span(5), "5s");
        assert_eq!(span(65), "1m05s");
        assert_eq!(span(3660), "1h01m");
        assert_eq!(span(90000), "1d01h");
    }
}
