//! A TOML file as a tree of sections that remember which keys were asked for.
//!
//! A getter takes the value, notes it with its origin, and collects a problem instead of
//! failing, so that one pass finds everything. A section's `finish` refuses what nobody asked
//! for. Defaults are TOML values and go through the same parser as what people write.

use std::cell::RefCell;
use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use crate::policy::model::{Origin, Setting};
use crate::policy::problem::{Complaint, Problem, Sort, line_of, names_secret};

/// What a value's parser says.
pub(super) type Parsed<T> = Result<T, Complaint>;

/// One file being read, and what was found in it so far.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    problems: RefCell<Vec<Problem>>,
    settings: RefCell<Vec<Setting>>,
}

/// What a file held.
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) settings: Vec<Setting>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default(), settings: RefCell::default() }
    }

    /// Without a span the problem is the whole file's.
    pub(super) fn complain(&self, complaint: Complaint, span: Option<Range<usize>>) {
        let problem = match span {
            Some(span) => complaint.at(self.file, self.text, span),
            None => complaint.in_file(self.file),
        };
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn finish(self) -> Findings {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| (p.line, p.column));
        Findings { problems, settings: self.settings.into_inner() }
    }
}

/// A table of the file, present or not.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    table: Option<&'a dyn TableLike>,
    /// Dotted, with a dot at its end unless it is the root.
    prefix: String,
    /// Where the section stands, for what is missing from it.
    pub(super) span: Option<Range<usize>>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value that was written or is a default.
pub(super) struct Found<T> {
    pub(super) value: T,
    /// `None`: a default.
    pub(super) span: Option<Range<usize>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(reader: &'a Reader<'a>, table: &'a dyn TableLike) -> Self {
        Self { reader, table: Some(table), prefix: String::new(), span: None, asked: RefCell::default() }
    }

    /// The reader, for complaints about more than one value.
    pub(super) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    fn remember(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
        #[cfg(test)]
        asked::note(self.reader.file, format!("{}{key}", self.prefix));
    }

    fn ask(&self, key: &'static str) -> Option<&'a Item> {
        self.remember(key);
        self.table?.get(key).filter(|item| !item.is_none())
    }

    /// Whether a key is there at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// A value that need not be there.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Parsed<T>,
    ) -> Option<Found<T>> {
        let item = self.ask(key)?;
        let Some(value) = item.as_value() else {
            let complaint = Complaint::value(
                format!("`{}{key}` is a table, not a value", self.prefix),
                format!("write `{key} = ...`"),
            );
            self.reader.complain(complaint, item.span());
            return None;
        };
        match parse(value) {
            Ok(parsed) => {
                self.note(key, value, value.span());
                Some(Found { value: parsed, span: value.span() })
            }
            Err(complaint) => {
                self.reader.complain(complaint, value.span());
                None
            }
        }
    }

    /// A value with a default. `None` only when what is written is wrong.
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: impl Into<Value>,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Found<T>> {
        if self.has(key) {
            return self.optional(key, parse);
        }
        self.remember(key);
        let value: Value = default.into();
        match parse(&value) {
            Ok(parsed) => {
                self.note(key, &value, None);
                Some(Found { value: parsed, span: None })
            }
            Err(complaint) => {
                self.reader.complain(complaint, self.span.clone());
                None
            }
        }
    }

    /// A value that must be there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&Value) -> Parsed<T>,
    ) -> Option<Found<T>> {
        if !self.has(key) {
            let cause = format!("`{}{key}` is missing", self.prefix);
            let complaint = Complaint::new(Sort::Missing, cause, format!("add `{key} = {example}`"));
            self.remember(key);
            self.reader.complain(complaint, self.span.clone());
            return None;
        }
        self.optional(key, parse)
    }

    /// A list whose wrong elements are problems of their own. Absent is empty; `None` when one is wrong.
    pub(super) fn list<T>(&self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<Vec<T>> {
        let expected = "a list such as [\"a\", \"b\"]";
        let check = |value: &Value| if value.is_array() { Ok(()) } else { Err(wrong_type(value, expected)) };
        self.or(key, toml_edit::Array::new(), check)?;
        let elements = self.table.and_then(|t| t.get(key)).and_then(Item::as_array);
        let complain = |element: &Value, complaint| self.reader.complain(complaint, element.span());
        // Every element is parsed before any failure counts, so that all of them are reported.
        let parsed: Vec<Option<T>> = elements
            .into_iter()
            .flatten()
            .map(|element| parse(element).map_err(|complaint| complain(element, complaint)).ok())
            .collect();
        parsed.into_iter().collect()
    }

    /// A list of at least one element.
    pub(super) fn required_list<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        if !self.has(key) {
            return self.required(key, example, |_| Ok(Vec::new())).map(|found| found.value);
        }
        let elements = self.list(key, parse)?;
        if elements.is_empty() {
            let complaint = Complaint::new(
                Sort::Missing,
                format!("`{}{key}` is empty", self.prefix),
                format!("write `{key} = {example}`"),
            );
            self.reader.complain(complaint, self.table.and_then(|t| t.get(key)).and_then(Item::span));
            return None;
        }
        Some(elements)
    }

    /// A table below this one; empty when absent, so that its defaults are noted.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let item = self.ask(key);
        self.at(&self.prefix, key, item)
    }

    /// Whether a key is there as a table.
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.table.and_then(|t| t.get(key)).is_some_and(|item| item.as_table_like().is_some())
    }

    /// A table as it was written, for a look ahead that asks for nothing.
    pub(super) fn peek(&self, key: &str) -> Option<&'a dyn TableLike> {
        self.table?.get(key)?.as_table_like()
    }

    /// A section that nobody wrote, for its defaults.
    pub(super) fn absent(&self, key: &str) -> Section<'a> {
        self.at(&self.prefix, key, None)
    }

    /// The tables below a table, by name: `[targets.NAME]`.
    pub(super) fn named(&self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let Some(table) = self.section(key).table else { return Vec::new() };
        let prefix = format!("{}{key}.", self.prefix);
        let below = |(name, item): (&'a str, &'a Item)| {
            let span = table.key(name).and_then(toml_edit::Key::span);
            (name, Section { span, ..self.at(&prefix, name, Some(item)) })
        };
        table.iter().map(below).collect()
    }

    /// The tables of `[[key]]`, in order.
    pub(super) fn each(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.ask(key) else { return Vec::new() };
        let Some(tables) = item.as_array_of_tables() else {
            let cause = format!("`{}{key}` is no list of tables", self.prefix);
            self.reader.complain(Complaint::value(cause, format!("write [[{key}]]")), item.span());
            return Vec::new();
        };
        let numbered = |(number, table): (usize, &'a toml_edit::Table)| Section {
            reader: self.reader,
            table: Some(table),
            prefix: format!("{}{key}.{}.", self.prefix, number + 1),
            span: table.span(),
            asked: RefCell::default(),
        };
        tables.iter().enumerate().map(numbered).collect()
    }

    fn at(&self, prefix: &str, key: &str, item: Option<&'a Item>) -> Section<'a> {
        let table = item.and_then(Item::as_table_like);
        if let (Some(item), None) = (item, table) {
            let cause = format!("`{prefix}{key}` is not a table");
            self.reader.complain(Complaint::value(cause, format!("write [{prefix}{key}]")), item.span());
        }
        Section {
            reader: self.reader,
            table,
            prefix: format!("{prefix}{key}."),
            span: item.and_then(Item::span).or_else(|| self.span.clone()),
            asked: RefCell::default(),
        }
    }

    fn note(&self, key: &str, value: &Value, span: Option<Range<usize>>) {
        let (value, origin) = match span {
            Some(span) => {
                let line = line_of(self.reader.text, span.start);
                let written = self.reader.text.get(span).unwrap_or_default().to_owned();
                (written, Origin::File { file: self.reader.file.to_owned(), line })
            }
            None => (default_text(value), Origin::Default),
        };
        self.reader.settings.borrow_mut().push(Setting {
            key: format!("{}{key}", self.prefix),
            value,
            origin,
        });
    }

    /// Refuses every key that nobody asked for. `later` are keys that a later version will take.
    pub(super) fn finish(self, later: &[&str]) {
        let asked = self.asked.into_inner();
        let Some(table) = self.table else { return };
        for (key, _) in table.iter().filter(|(key, _)| !asked.contains(key)) {
            let span = table.key(key).and_then(toml_edit::Key::span);
            let full = format!("{}{key}", self.prefix);
            let known = asked.iter().chain(later).copied();
            let complaint = if later.contains(&key) {
                Complaint::not_yet(format!("`{full}`"), "remove the key: it would have no effect")
            } else if names_secret(key) {
                Complaint::new(
                    Sort::Secret,
                    format!("`{full}` looks like a secret, and secrets must not stand in this file"),
                    "put it into a file of its own (mode 0600) and name that: credentials_file = \"/...\"",
                )
            } else {
                let fix = match meant(key, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known here: {}", asked.join(", ")),
                };
                Complaint::new(Sort::UnknownKey, format!("unknown key `{full}`"), fix)
            };
            self.reader.complain(complaint, span);
        }
    }
}

/// A default as TOML. Only the types that defaults have.
fn default_text(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", text.value().escape_debug()),
        Value::Boolean(switch) => switch.value().to_string(),
        Value::Integer(number) => number.value().to_string(),
        Value::InlineTable(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key} = {}", default_text(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        _ => "[]".to_owned(),
    }
}

/// The known word that was probably meant: the nearest that needs few keystrokes.
pub(super) fn meant<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Long junk is no typo, and the distance costs the product of the lengths.
    let few = |known: &str| (known.len().max(word.len()) / 3).max(1);
    known
        .filter(|k| word.len() <= 64 && word.len().abs_diff(k.len()) <= few(k))
        .map(|k| (strsim::osa_distance(word, k), k))
        .filter(|(distance, k)| *distance <= few(k))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// A value of another type than expected. Says the type, never the value.
pub(super) fn wrong_type(value: &Value, expected: &str) -> Complaint {
    Complaint::value(format!("{} where {expected} belongs", a_type(value)), format!("write {expected}"))
}

fn a_type(value: &Value) -> String {
    let name = value.type_name();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// The keys that were asked for in this thread: for the test that holds the schema against them.
#[cfg(test)]
pub(super) mod asked {
    use std::cell::RefCell;

    thread_local! {
        static ASKED: RefCell<Option<Vec<(String, String)>>> = const { RefCell::new(None) };
    }

    pub(in crate::policy::load) fn start() {
        ASKED.with_borrow_mut(|asked| *asked = Some(Vec::new()));
    }

    pub(super) fn note(file: &str, key: String) {
        ASKED.with_borrow_mut(|asked| {
            asked.iter_mut().for_each(|all| all.push((file.to_owned(), key.clone())))
        });
    }

    pub(in crate::policy::load) fn take() -> Vec<(String, String)> {
        ASKED.with_borrow_mut(Option::take).unwrap_or_default()
    }
}
