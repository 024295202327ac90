//! Why a config file is refused: the message, its place and the line. This file does not parse.

use std::fmt;

/// The reason and the place of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The message: what is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
    /// The offending line; empty when the file is too large. Bytes that are not UTF-8 and characters
    /// that could move or hide text are replaced one by one, so that `column` stays right.
    pub source: String,
    /// The message and the hint without any of the text but the key, for a file that
    /// holds secrets.
    pub bare: String,
}

impl fmt::Display for SyntaxError {
    /// Writes `LINE:COL: message (hint)`, the source line, and a caret under the column, without a newline
    /// at the end. The caller puts `FILE:` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a very long line only the part around the caret is useful.
        const BEFORE: usize = 60;
        const SHOWN: usize = 100;
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        if self.source.is_empty() {
            return Ok(());
        }
        let caret = self.column.saturating_sub(1);
        let start = if caret < SHOWN { 0 } else { caret - BEFORE };
        let shown: String = self.source.chars().skip(start).take(SHOWN).collect();
        // The tabs of the line are repeated, so that the caret is right for any tab width.
        let pad: String = shown
            .chars()
            .chain(std::iter::repeat(' '))
            .take(caret - start)
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        write!(f, "\n  {shown}\n  {pad}^")
    }
}

impl std::error::Error for SyntaxError {}

// One constant a refusal: the message, and after the dashes the hint. {} is the offending text.
pub(super) const TOO_LARGE: &str = "the file is larger than 1 MiB -- is it the right one?";
pub(super) const BYTE_ORDER_MARK: &str = "byte order mark -- save the file as UTF-8 without one";
pub(super) const NOT_UTF8: &str = "not UTF-8 -- save the file as UTF-8";
pub(super) const NUL: &str = "NUL byte -- is this a text file?";
pub(super) const CR: &str =
    r"carriage return -- the file has Windows line ends: sed -i 's/\r$//' takes them away";
pub(super) const CONTROL: &str = "control character {} -- it can stand in single quotes only";
pub(super) const OUTSIDE: &str = "{} outside quotes -- put the value in single quotes";
pub(super) const NO_QUOTE: &str = "{} is no quote to a shell -- write ' or \"";
pub(super) const NO_KEY: &str =
    "{} where a key should begin -- a line is KEY=value, a # comment or blank";
pub(super) const DIGIT: &str =
    "a key cannot begin with a digit -- a line is KEY=value, a # comment or blank";
pub(super) const IN_KEY: &str = "{} in a key -- a key is made of letters, digits and _";
pub(super) const EXPORT: &str = "export without a key -- write export KEY=value";
pub(super) const NO_EQUALS: &str = "{} without = -- write KEY=value; no command is ever run";
pub(super) const APPEND: &str = "+= is understood by bash alone -- write {}=\"${{}}...\"";
pub(super) const ELEMENT: &str = "there are no arrays -- use a key for each, or words in quotes";
pub(super) const FUNCTION: &str = "there are no functions -- nothing is ever run";
pub(super) const SPECIAL_KEY: &str =
    "{} is a variable that shells set or live by -- give the key another name";
pub(super) const BLANK_BEFORE: &str = "blank before = -- write KEY=value, without blanks around =";
pub(super) const BLANK_AFTER: &str = "blank after = -- write KEY=value, without blanks around =";
pub(super) const SECOND_WORD: &str =
    "a second word after the value -- a value with blanks needs quotes";
pub(super) const SECOND_KEY: &str = "two assignments on one line -- one a line";
pub(super) const OPEN_SINGLE: &str = "this ' is never closed -- add the closing '";
pub(super) const OPEN_DOUBLE: &str = "this \" is never closed -- add the closing \"";
pub(super) const LAST_BACKSLASH: &str =
    "backslash at the end of the file -- quote it, and end the file with a newline";
pub(super) const COMMAND: &str = r"a shell would run or compute this -- for a literal $ write \$";
pub(super) const COMPUTED: &str = "a shell would compute this -- only ${{}} is read";
pub(super) const DOLLAR_QUOTE: &str =
    r"${} is understood by bash alone -- leave out the $, or write \${}";
pub(super) const SHELLS_OWN: &str = r"${} is the shell's own -- for a literal $ write \$";
pub(super) const LONE_DOLLAR: &str = r"$ without a name -- for a literal $ write \$";
pub(super) const UNCLEAR_END: &str = "unclear where the name ends -- write ${{}}";
pub(super) const SPLIT: &str = "some shells split this into words after export -- write \"${}\"";
pub(super) const UNSET: &str =
    r"{} is not set above -- only keys above, SUBHOST and NAME are known; for a literal $ write \$";
pub(super) const GROWN: &str = "the values grow beyond 1 MiB -- use fewer variables";

/// Returns the refusal of a character that some shell would act on outside quotes; none if no shell would.
pub(super) fn active(c: char) -> Option<&'static str> {
    Some(match c {
        '`' => r"unquoted {}: a shell would run a command -- for a literal one write \`",
        ';' => "unquoted {}: a shell would end the command -- one assignment a line, or quotes",
        '&' | '|' => "unquoted {}: a shell would start another command -- put the value in quotes",
        '<' | '>' => "unquoted {}: a shell would redirect -- put the value in quotes",
        '*' | '?' | '[' => "unquoted {}: a shell might look for files -- put the value in quotes",
        '~' => {
            "unquoted {}: a shell might put a home directory -- quote it, or write the path in full"
        }
        '(' | ')' => {
            "unquoted {}: there are no arrays and no subshells -- a list is words in quotes"
        }
        '{' | '}' => "unquoted {}: some shells expand braces -- put the value in quotes",
        _ => return None,
    })
}

/// Makes the refusal of `text` at the byte `at`.
pub(super) fn refusal(text: &[u8], at: usize, why: &str) -> SyntaxError {
    let (before, after) = text.split_at(at);
    let start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |newline| newline + 1);
    let end = at
        + after
            .iter()
            .position(|b| *b == b'\n')
            .unwrap_or(after.len());
    let (message, hint) = split(why);
    SyntaxError {
        line: 1 + before.iter().filter(|b| **b == b'\n').count(),
        column: 1 + String::from_utf8_lossy(&text[start..at]).chars().count(),
        message: message.to_owned(),
        hint: hint.to_owned(),
        source: String::from_utf8_lossy(&text[start..end])
            .chars()
            .map(visible)
            .collect(),
        bare: bare(why),
    }
}

/// Splits a refusal into message and hint.
fn split(why: &str) -> (&str, &str) {
    why.split_once(" -- ").unwrap_or((why, ""))
}

/// Joins the message and the hint of a refusal.
pub(super) fn bare(why: &str) -> String {
    match split(why) {
        (message, "") => message.to_owned(),
        (message, hint) => format!("{message} ({hint})"),
    }
}

/// Replaces a character that a terminal would obey or not show by one visible character. Tabs stay.
pub(super) fn visible(c: char) -> char {
    match c {
        '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}
