//! What is written on: width, colours, how much; and the wrapping of text.

/// The page a report is written on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Columns; clipped to 80..=160, because a story in fewer is unreadable and in more nobody follows a line.
    pub width: usize,
    /// Whether escape sequences for colours are understood.
    pub colours: bool,
    /// Every operation, with its place in the code.
    pub full: bool,
}

impl Default for Page {
    fn default() -> Self {
        Page { width: 120, colours: false, full: false }
    }
}

impl Page {
    /// The width to keep to.
    pub fn columns(&self) -> usize {
        self.width.clamp(80, 160)
    }
    /// `text` in bold.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }
    /// `text` in red: something fell.
    pub fn bad(&self, text: &str) -> String {
        self.paint("1;31", text)
    }
    /// `text` in green: something holds.
    pub fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }
    /// `text` less prominent.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Width of `text` on a terminal; our texts have no characters of double or no width.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Breaks `text` at spaces into lines of at most `width`; words that are longer are broken where they must be.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let mut word = word;
            if !line.is_empty() && width(&line) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut line));
            }
            while width(word) > columns {
                let cut = word.char_indices().nth(columns).map_or(word.len(), |(i, _)| i);
                lines.push(word[..cut].to_owned());
                word = &word[cut..];
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// `label` in its column, then `text`, wrapped beside it.
pub fn beside(label: &str, column: usize, text: &str, columns: usize) -> String {
    let mut out = String::new();
    for (i, line) in wrap(text, columns.saturating_sub(column)).iter().enumerate() {
        let left = if i == 0 { label } else { "" };
        out.push_str(format!("{left:<column$}{line}").trim_end());
        out.push('\n');
    }
    out
}

/// A number with its thousands apart.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_loses_nothing_and_keeps_to_the_width() {
        let text = "UNMAP [0x300000, 0x301000) hits a range_with_a_very_long_name_indeed of the notifier";
        for columns in 1..90 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|l| width(l) <= columns), "{columns}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn colours_appear_only_when_asked_for() {
        assert_eq!(Page::default().bad("x"), "x");
        assert_ne!(Page { colours: true, ..Page::default() }.bad("x"), "x");
    }
}
