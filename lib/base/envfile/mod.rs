//! The grammar of `config`, `defaults` and `assigned`: lines of `KEY=word` that a POSIX shell can source.
//!
//! An accepted file means the same here and in dash, bash (with and without `--posix`) and busybox sh. The
//! parser therefore refuses whatever a shell would execute, whatever shells disagree about, and whatever
//! depends on the state of the shell. Each refusal has a place and a hint; the parser guesses nothing.
//! `tests/grammar.rs` compares the parser with the real shells.
//!
//! This module executes nothing, reads no file and no environment, and knows no keys. It turns a text and
//! the variables of `scope` into pairs, in time linear in the length of the text.

mod refusal;

pub use refusal::SyntaxError;
use refusal::*;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The largest text that is read, in bytes, and the most that `$VAR` may add to it. Without the second
/// limit, lines like `A=$A$A` would grow without bound.
const LIMIT: usize = 1 << 20;

/// One assignment of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key, `[A-Za-z_][A-Za-z0-9_]*`. A key may come more than once: the last pair wins, as in a shell.
    pub key: String,
    /// The value after the removal of quotes and escapes and the expansion of variables.
    pub value: String,
    /// The line of the key, from 1.
    pub line: usize,
}

/// Parses the text of a file. `scope` holds the variables that exist before the file, SUBHOST and NAME;
/// they are not among the returned pairs.
///
/// # Errors
/// The first part of the text that is not in the grammar. A refused file gives no pairs.
pub fn parse(text: &[u8], scope: &[(&str, &str)]) -> Result<Vec<Pair>, SyntaxError> {
    if text.len() > LIMIT {
        return Err(refusal(b"", 0, TOO_LARGE));
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(refusal(text, 0, BYTE_ORDER_MARK));
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(e) => return Err(refusal(text, e.valid_up_to(), NOT_UTF8)),
    };
    if let Some(at) = text.find('\0') {
        return Err(refusal(text.as_bytes(), at, NUL));
    }
    let reader = Reader {
        text,
        at: 0,
        scope,
        pairs: Vec::new(),
        latest: HashMap::new(),
        special: SPECIAL.iter().flat_map(|row| row.split(' ')).collect(),
        grown: 0,
    };
    reader.file()
}

/// Quotes `value` as one word for a shell, to follow `KEY=` or to be an argument: bare where that is
/// safe, else in single quotes. Each string without NUL has the same value in dash, bash, busybox sh
/// and [`parse`].
pub fn quote(value: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&b);
    // zsh replaces a leading = by the path of a command.
    if !value.is_empty() && !value.starts_with('=') && value.bytes().all(safe) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Variables that a shell sets itself, computes, makes read-only or depends on. An assignment to one of
/// them fails, has another value, or changes how the shell reads the rest of the file.
const SPECIAL: &[&str] = &[
    // Computed or read-only variables, most of bash, some of busybox. dash exits if OPTIND is not a number.
    "_ ARGV0 COMPREPLY COPROC DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD LINENO",
    "MAPFILE OPTARG OPTERR OPTIND PIPESTATUS PPID RANDOM REPLY SECONDS SHELLOPTS SHLVL SRANDOM UID",
    // These switch bash to another mode, end an idle shell, or change globs and functions.
    "CHILD_MAX EXECIGNORE FIGNORE FUNCNEST GLOBIGNORE GLOBSORT IGNOREEOF POSIXLY_CORRECT",
    "POSIX_PEDANTIC TMOUT auto_resume histchars ignoreeof",
    // A login shell and its prompt depend on these. LANG, like LC_*, decides how bash reads the next line.
    "CDPATH COLUMNS ENV HISTCONTROL HISTFILE HISTFILESIZE HISTIGNORE HISTSIZE HISTTIMEFORMAT HOME IFS",
    "LANG LANGUAGE LINES LOGNAME MAIL MAILCHECK MAILPATH OLDPWD PATH PROMPT_COMMAND PROMPT_DIRTRIM",
    "PS0 PS1 PS2 PS3 PS4 PWD SHELL TERM USER",
];

/// Prefixes of further special variables: of bash, completion, line editing, locale, dynamic linker.
const SPECIAL_PREFIXES: &[&str] = &["BASH", "COMP_", "LC_", "LD_", "READLINE_"];

type Read<T> = Result<T, SyntaxError>;

/// The context of a `$VAR`.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Bare,
    BareAfterExport,
    Quoted,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    scope: &'a [(&'a str, &'a str)],
    pairs: Vec<Pair>,
    /// The index in `pairs` of the last pair of each key.
    latest: HashMap<&'a str, usize>,
    special: HashSet<&'static str>,
    /// The number of bytes that variables have added so far.
    grown: usize,
}

impl<'a> Reader<'a> {
    fn file(mut self) -> Read<Vec<Pair>> {
        let (mut line, mut counted) = (1, 0);
        loop {
            self.blanks();
            match self.peek(0) {
                None => return Ok(self.pairs),
                Some(b'\n') => self.at += 1,
                Some(b'#') => self.comment()?,
                Some(_) => {
                    line += self.text[counted..self.at].matches('\n').count();
                    counted = self.at;
                    self.assignment(line)?;
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Returns the character at `at`; at the end of the text a newline, which ends a line as well.
    fn char_at(&self, at: usize) -> char {
        self.text[at..].chars().next().unwrap_or('\n')
    }

    fn fail<T>(&self, at: usize, why: &str) -> Read<T> {
        Err(refusal(self.text.as_bytes(), at, why))
    }

    fn fail_about<T>(&self, at: usize, why: &str, about: impl fmt::Display) -> Read<T> {
        let why_not = why.replace("{}", &format!("{about:.40}"));
        let mut refusal = refusal(self.text.as_bytes(), at, &why_not);
        refusal.bare = bare(&match why {
            SPECIAL_KEY => why_not,
            why => why.replace("{}", "..."),
        });
        Err(refusal)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn name(&mut self) -> &'a str {
        let start = self.at;
        while self
            .peek(0)
            .is_some_and(|b| b == b'_' || b.is_ascii_alphanumeric())
        {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Skips a comment. No shell continues a comment after a backslash at the end of its line.
    fn comment(&mut self) -> Read<()> {
        while let Some(b) = self.peek(0).filter(|b| *b != b'\n') {
            if b.is_ascii_control() && b != b'\t' {
                return self.out_of_place(self.at);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn assignment(&mut self, line: usize) -> Read<()> {
        let (mut key_at, mut key, mut place) = (self.at, self.name(), Place::Bare);
        if key == "export" && matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.blanks();
            (key_at, key, place) = (self.at, self.name(), Place::BareAfterExport);
        }
        self.equals(key_at, key)?;
        if self.special.contains(key) || SPECIAL_PREFIXES.iter().any(|p| key.starts_with(p)) {
            return self.fail_about(key_at, SPECIAL_KEY, key);
        }
        let value_at = self.at;
        let value = self.word(place)?;
        let word_end = self.at;
        self.blanks();
        let second_at = self.at;
        match self.peek(0) {
            None | Some(b'\n' | b'#') => {}
            Some(b) if !b.is_ascii_graphic() => return self.out_of_place(self.at),
            Some(_) if value_at == word_end => return self.fail(value_at, BLANK_AFTER),
            Some(_) if !self.name().is_empty() && self.peek(0) == Some(b'=') => {
                return self.fail(second_at, SECOND_KEY);
            }
            Some(_) => return self.fail(second_at, SECOND_WORD),
        }
        self.latest.insert(key, self.pairs.len());
        let key = key.to_owned();
        self.pairs.push(Pair { key, value, line });
        Ok(())
    }

    /// Skips the = after a key, or explains what is wrong with the key or the =.
    fn equals(&mut self, key_at: usize, key: &str) -> Read<()> {
        let (at, next) = (self.at, self.char_at(self.at));
        let plain = next.is_ascii_graphic() && active(next).is_none();
        match next {
            '\n' | '#' if key.is_empty() => self.fail(at, EXPORT),
            _ if key.is_empty() && plain => self.fail_about(at, NO_KEY, next),
            _ if key.is_empty() => self.out_of_place(at),
            _ if key.as_bytes()[0].is_ascii_digit() => self.fail(key_at, DIGIT),
            '=' => {
                self.at += 1;
                Ok(())
            }
            '+' if self.peek(1) == Some(b'=') => self.fail_about(at, APPEND, key),
            '[' => self.fail(at, ELEMENT),
            '(' => self.fail(at, FUNCTION),
            ' ' | '\t' | '\n' => {
                self.blanks();
                match self.peek(0) {
                    Some(b'=') => self.fail(at, BLANK_BEFORE),
                    _ => self.fail_about(key_at, NO_EQUALS, key),
                }
            }
            _ if plain => self.fail_about(at, IN_KEY, next),
            _ => self.out_of_place(at),
        }
    }

    fn word(&mut self, place: Place) -> Read<String> {
        let mut value = String::new();
        while let Some(b) = self.peek(0) {
            match b {
                b' ' | b'\t' | b'\n' => break,
                b'\'' => {
                    let rest = &self.text[self.at + 1..];
                    let Some(length) = rest.find('\'') else {
                        return self.fail(self.at, OPEN_SINGLE);
                    };
                    value.push_str(&rest[..length]);
                    self.at += length + 2;
                }
                b'"' => self.double_quoted(&mut value)?,
                b'$' => self.variable(place, &mut value)?,
                b'\\' => {
                    match self.peek(1) {
                        // After joined lines, bash 5.2 reads \\ at the very end of a file as two
                        // backslashes.
                        Some(b'\\') if self.peek(2).is_none() => {
                            return self.fail(self.at, LAST_BACKSLASH);
                        }
                        Some(b'\n') => {}
                        Some(c @ (b'\t' | b' '..=b'~')) => value.push(char::from(c)),
                        Some(_) => return self.out_of_place(self.at + 1),
                        // Shells take it literally, but it may be a line whose end was lost.
                        None => return self.fail(self.at, LAST_BACKSLASH),
                    }
                    self.at += 2;
                }
                _ if b.is_ascii_graphic() && active(char::from(b)).is_none() => {
                    value.push(char::from(b));
                    self.at += 1;
                }
                _ => return self.out_of_place(self.at),
            }
        }
        Ok(value)
    }

    fn double_quoted(&mut self, value: &mut String) -> Read<()> {
        let open = self.at;
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let Some(length) = rest.find(['"', '\\', '$', '`', '\u{1}', '\u{7f}']) else {
                return self.fail(open, OPEN_DOUBLE);
            };
            value.push_str(&rest[..length]);
            self.at += length;
            match (rest.as_bytes()[length], self.peek(1)) {
                (b'"', _) => {
                    self.at += 1;
                    return Ok(());
                }
                (b'$', _) => self.variable(Place::Quoted, value)?,
                (b'`', _) => return self.out_of_place(self.at),
                // bash 5.2 uses these two bytes as internal markers. After a backslash it loses them or the
                // variable that follows.
                (b'\x01' | b'\x7f', _) => return self.out_of_place(self.at),
                (_, Some(b'\n')) => self.at += 2,
                (_, Some(c @ (b'"' | b'\\' | b'$' | b'`'))) => {
                    value.push(char::from(c));
                    self.at += 2;
                }
                _ => {
                    value.push('\\');
                    self.at += 1;
                }
            }
        }
    }

    fn variable(&mut self, place: Place, value: &mut String) -> Read<()> {
        let dollar = self.at;
        let braced = self.peek(1) == Some(b'{');
        self.at += if braced { 2 } else { 1 };
        let name = self.name();
        let next = self.char_at(self.at);
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return self.no_variable(dollar, place);
        }
        if braced && next != '}' {
            return self.fail_about(dollar, COMPUTED, name);
        }
        if braced {
            self.at += 1;
        } else if !next.is_ascii() || (next == '\\' && self.peek(1) == Some(b'\n')) {
            // In a Latin-1 locale bash takes the first byte of é as a letter of the name. Shells join
            // lines before they look for the end of the name, but old ones do not.
            return self.fail_about(self.at, UNCLEAR_END, name);
        }
        if place == Place::BareAfterExport {
            return self.fail_about(dollar, SPLIT, name);
        }
        let Some(known) = self.lookup(name) else {
            let Some(near) = self.nearest(name) else {
                return self.fail_about(dollar, UNSET, name);
            };
            let hint = format!("did you mean {near}?");
            return self
                .fail_about(dollar, UNSET, name)
                .map_err(|refusal: SyntaxError| SyntaxError { hint, ..refusal });
        };
        let length = known.len();
        if self.grown + length > LIMIT {
            return self.fail(dollar, GROWN);
        }
        value.push_str(known);
        self.grown += length;
        Ok(())
    }

    /// Explains what is wrong with a $ that no name follows.
    fn no_variable<T>(&self, dollar: usize, place: Place) -> Read<T> {
        match self.char_at(dollar + 1) {
            '(' => self.fail(dollar, COMMAND),
            '{' => self.fail_about(dollar, COMPUTED, "NAME"),
            c @ ('\'' | '"') if place != Place::Quoted => self.fail_about(dollar, DOLLAR_QUOTE, c),
            c if c.is_ascii_digit() || "?$!#*@-".contains(c) => {
                self.fail_about(dollar, SHELLS_OWN, c)
            }
            _ => self.fail(dollar, LONE_DOLLAR),
        }
    }

    fn lookup(&self, name: &str) -> Option<&str> {
        if let Some(&index) = self.latest.get(name) {
            return Some(&self.pairs[index].value);
        }
        self.scope
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    /// Returns the known name most similar to `name`. The limits keep this fast for a hostile file.
    fn nearest(&self, name: &str) -> Option<&str> {
        const LONGEST: usize = 40;
        let set = self
            .pairs
            .iter()
            .rev()
            .take(500)
            .map(|pair| pair.key.as_str());
        let names = self.scope.iter().map(|(known, _)| *known).chain(set);
        let distance = |known: &str| match known.eq_ignore_ascii_case(name) {
            true => 0,
            false => strsim::osa_distance(known, name),
        };
        names
            .filter(|known| known.len() <= LONGEST && name.len() <= LONGEST)
            .map(|known| (distance(known), known))
            .filter(|(distance, _)| distance * 3 <= name.len())
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    }

    /// Explains what is wrong with a character that may not stand outside quotes.
    fn out_of_place<T>(&self, at: usize) -> Read<T> {
        let c = self.char_at(at);
        match c {
            '\r' => self.fail(at, CR),
            '\u{2018}'..='\u{201f}' => self.fail_about(at, NO_QUOTE, c),
            c if c.is_control() => self.fail_about(at, CONTROL, format!("U+{:04X}", u32::from(c))),
            c => self.fail_about(at, active(c).unwrap_or(OUTSIDE), visible(c)),
        }
    }
}
