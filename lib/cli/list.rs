//! The tool subhost-list(8): prints a table of subhosts.

use super::common::keep_first;
use super::messages::to_json;
use super::{Common, Tool, print};
use crate::base::error::{Error, Exit, Result, shown};
use crate::base::name::Name;
use crate::base::words::{bytes, span};
use crate::report::{Look, Row, describe_last, rows};
use clap::Parser;
use std::borrow::Cow;

/// The columns, by their names in `-o`.
const COLUMNS: &[&str] = &[
    "name",
    "state",
    "pid",
    "uptime",
    "address",
    "memory",
    "type",
    "last",
    "changed",
    "cpu",
    "processes",
    "root",
];
/// The columns of the table without `-o`.
const USUAL: &[&str] = &[
    "name", "state", "pid", "uptime", "address", "memory", "type", "last",
];

/// List subhosts
///
/// subhost-list prints a table with a line for each subhost: its state, the pid of PID 1, how long it
/// has been running, its first address, the memory that it uses, the type of its root, and how its
/// last run ended. subhost(7) describes the states.
#[derive(Debug, Parser)]
#[command(
    name = "subhost-list",
    version,
    after_help = "Examples:
  subhost-list
  subhost-list -o name,state | while read -r name state; do ...; done
  subhost-list --json | jq -r '.[] | select(.state == \"broken\").name'

Columns:
  name       the name
  state      stopped, hibernating, running, frozen, broken or invalid
  pid        the pid of PID 1 on the host
  uptime     how long it has been running; with -o in seconds
  address    its first address
  memory     the memory that it uses; with -o in bytes
  type       the type of its root
  last       how its last run ended; with -o exit:N, signal:N or ended
  changed    yes if keys of its root or network changed since these were made
  cpu        CPU time, in seconds
  processes  how many processes it has
  root       where its root is mounted
The first eight are shown by default. A - means no value.

Exit status:
  0   done
  1   failed
  2   wrong usage
  4   no such subhost"
)]
pub struct ListTool {
    /// Print these columns only, separated by commas, without a heading
    #[arg(
        short = 'o',
        long,
        value_name = "COLUMNS",
        value_delimiter = ',',
        conflicts_with = "json"
    )]
    pub output: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
    /// Names of subhosts [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

impl Tool for ListTool {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(self) -> Result<u8> {
        self.common.become_root()?;
        if let Some(unknown) = self
            .output
            .iter()
            .find(|name| !COLUMNS.contains(&name.as_str()))
        {
            return Err(Error::new(
                Exit::Usage,
                format!("there is no column {}", shown(unknown)),
            )
            .hint(COLUMNS.join(" ")));
        }
        let tree = self.common.tree()?;
        let mut status = 0;
        let mut names = Vec::new();
        for name in &self.names {
            match self.common.existing_name(name) {
                Ok(name) => names.push(name),
                Err(error) => {
                    super::report(Name::new(name).ok().as_ref(), &error);
                    keep_first(&mut status, error.exit as u8);
                }
            }
        }
        let look = self.look();
        let rows = match self.names.is_empty() {
            true => rows(&tree, None, look)?,
            false => rows(&tree, Some(&names), look)?,
        };
        if self.json {
            print(&to_json(&rows)?)?;
        } else if self.output.is_empty() {
            print(&table(&rows))?;
        } else {
            for row in &rows {
                let columns = self.output.iter();
                let cells: Vec<Cow<str>> = columns.map(|name| bare_cell(row, name)).collect();
                print(&format!("{}\n", cells.join(" ")))?;
            }
        }
        Ok(status)
    }
}

impl ListTool {
    /// Returns the cheapest look that fills in all columns of the output.
    fn look(&self) -> Look {
        let has_any = |columns: &[&str]| {
            let mut output = self.output.iter();
            output.any(|name| columns.contains(&name.as_str()))
        };
        match self.json || has_any(&["changed"]) {
            true => Look::Whole,
            false if has_any(&["cpu", "processes"]) => Look::Counted,
            false => Look::Usual,
        }
    }
}

/// Returns a cell for scripts: one word without a unit.
fn bare_cell<'a>(row: &'a Row, column: &str) -> Cow<'a, str> {
    let borrowed = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
    let number = |number: Option<u64>| number.map(|number| number.to_string().into());
    let text: Option<Cow<str>> = match column {
        "name" => Some((&row.name).into()),
        "state" => Some((&row.state).into()),
        "pid" => row.pid.map(|pid| pid.to_string().into()),
        "uptime" => number(row.uptime),
        "address" => borrowed(&row.address),
        "memory" => number(row.memory),
        "type" => borrowed(&row.kind),
        "last" => row
            .last
            .as_ref()
            .map(|last| match (last.exit, last.signal) {
                (Some(exit), _) => format!("exit:{exit}").into(),
                (_, Some(signal)) => format!("signal:{signal}").into(),
                _ => "ended".into(),
            }),
        "changed" => row.changed.map(|yes| if yes { "yes" } else { "no" }.into()),
        "cpu" => row.cpu.map(|cpu| format!("{cpu:.2}").into()),
        "processes" => number(row.processes),
        "root" => row.root.as_ref().map(|root| shown(root).into()),
        _ => None,
    };
    or_dash(text)
}

fn or_dash(text: Option<Cow<str>>) -> Cow<str> {
    text.filter(|text| !text.is_empty())
        .unwrap_or(Cow::Borrowed("-"))
}

/// Returns a cell of the table, with units.
fn cell<'a>(row: &'a Row, column: &str) -> Cow<'a, str> {
    let text = match column {
        "uptime" => row.uptime.map(span),
        "memory" => row.memory.map(bytes),
        "last" => row.last.as_ref().map(describe_last),
        other => return bare_cell(row, other),
    };
    or_dash(text.map(Cow::Owned))
}

fn table(rows: &[Row]) -> String {
    let heading = USUAL.iter().map(|name| name.to_uppercase().into());
    let row_cells = |row| USUAL.iter().map(move |name| cell(row, name));
    let cells: Vec<Cow<str>> = heading.chain(rows.iter().flat_map(row_cells)).collect();
    let width_of = |cell: &Cow<str>| cell.chars().count();
    let mut widths = [0; USUAL.len()];
    for line in cells.chunks(USUAL.len()) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = width_of(cell).max(*width);
        }
    }
    let spaces = " ".repeat(widths.iter().max().unwrap_or(&0) + 2);
    let mut text = String::new();
    for line in cells.chunks(USUAL.len()) {
        for (cell, width) in line.iter().zip(&widths) {
            text += cell;
            text.push_str(&spaces[..width - width_of(cell) + 2]);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
