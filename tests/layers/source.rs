//! Reads Rust source as far as the architecture tests need: code without comments, literals and tests. No parser: a scanner.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One file below `src/`.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the tree, such as `src/hub/serve.rs`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// What the product is made of: comments, literals and `#[cfg(test)]` items are blank, lines are where they were.
    pub(crate) code: String,
    /// The whole file is test code.
    pub(crate) test_only: bool,
}

impl Source {
    /// The folder below `src/` that the file belongs to: `hub` for `src/hub.rs` and `src/hub/serve.rs`.
    pub(crate) fn layer(&self) -> &str {
        let name = self.path.trim_start_matches("src/");
        name.split('/').next().map_or(name, |first| first.trim_end_matches(".rs"))
    }

    /// Lines of product code and its comments: without the test items.
    pub(crate) fn lines(&self) -> usize {
        let tests = blank_tests(&blank_literals(&self.text), '\u{0}').0;
        tests.lines().filter(|line| !line.contains('\u{0}')).count()
    }

    /// How deep the file's module is: 1 for `src/hub.rs`, 2 for `src/hub/serve.rs`.
    fn depth(&self) -> usize {
        self.path.matches('/').count()
    }

    /// Where the modules lie that this file declares for tests only.
    fn test_modules(&self) -> Vec<PathBuf> {
        let here = Path::new(&self.path).with_extension("");
        let here = if here.ends_with("lib") { PathBuf::from("src") } else { here };
        let names = blank_tests(&blank_literals(&self.text), ' ').1;
        names.into_iter().map(|name| here.join(name)).collect()
    }

    /// The modules of this crate that the file uses.
    pub(crate) fn uses(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::").filter(|(at, _)| !is_word_before(&self.code, *at)) {
            let rest = &self.code[at + "crate::".len()..];
            match rest.trim_start().strip_prefix('{') {
                Some(group) => used.extend(heads(group)),
                None => used.extend(word(rest)),
            }
        }
        // A chain of `super` that is as long as the module is deep ends at the root of the crate.
        if self.code.contains(&"super::".repeat(self.depth())) {
            used.insert("super::".repeat(self.depth()));
        }
        used
    }

    /// Whether the code names `path`, such as `quinn::` or `SystemTime`, as a path's beginning or a word of its own.
    pub(crate) fn names(&self, path: &str) -> bool {
        self.code.match_indices(path).any(|(at, _)| {
            let after = self.code[at + path.len()..].chars().next();
            let ends = path.ends_with("::") || !after.is_some_and(is_word);
            ends && !is_word_before(&self.code, at) && !(path.ends_with("::") && self.code[..at].ends_with("::"))
        })
    }
}

/// Every Rust file below `src/`, in order of path.
pub(crate) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("source files can be read");
        let path = path.strip_prefix(root).expect("it was found below the root").display().to_string();
        sources.push(read(&path, &text));
    }
    let test_modules: Vec<PathBuf> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let module = Path::new(&source.path).with_extension("");
        source.test_only = test_modules.iter().any(|tests| module.starts_with(tests));
    }
    sources
}

/// One file, from its text.
pub(crate) fn read(path: &str, text: &str) -> Source {
    let code = blank_tests(&blank_literals(text), ' ').0;
    Source { path: path.to_owned(), text: text.to_owned(), code, test_only: false }
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("source folders can be read") {
        let path = entry.expect("source folders can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word_before(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(is_word)
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| is_word(*c)).collect();
    (!word.is_empty()).then_some(word)
}

/// The first words of the members of `{a::b, c}`, without the opening brace.
fn heads(group: &str) -> Vec<String> {
    let (mut found, mut depth, mut member) = (Vec::new(), 1, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => found.extend(word(std::mem::take(&mut member).trim())),
            _ if depth == 1 => member.push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found.extend(word(member.trim()));
    found
}

/// Comments, strings and characters become spaces; line breaks stay.
fn blank_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = literal(rest, out.chars().next_back()).unwrap_or(0);
        if len == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        out.extend(rest[..len].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[len..];
    }
    out
}

/// The length of the comment or literal that `rest` begins with.
fn literal(rest: &str, before: Option<char>) -> Option<usize> {
    let to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(to("*/", 2));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !before.is_some_and(|c| is_word(c) && c != 'b')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return Some(to(&format!("\"{}", "#".repeat(hashes)), hashes + 2));
        }
    }
    let mut chars = rest.strip_prefix('\'')?.chars();
    match (chars.next()?, chars.next()?) {
        ('\\', _) => Some(quoted(rest, '\'')),
        (inner, '\'') => Some(2 + inner.len_utf8()),
        _ => None, // a lifetime
    }
}

fn quoted(rest: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == end => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Items under `#[cfg(test)]` become `fill`. Also gives the names of the modules among them that live in files.
fn blank_tests(code: &str, fill: char) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        let end = at + item_end(&rest[at..]);
        let item = rest[at + MARK.len()..end].trim();
        if let Some(declared) = item.strip_suffix(';')
            && let Some((_, name)) = declared.rsplit_once("mod ")
        {
            modules.push(name.trim().to_owned());
        }
        out.push_str(&rest[..at]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { c } else { fill }));
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, modules)
}

/// Where an item ends: at the first `;` outside of brackets, or behind the brace that closes its first one.
fn item_end(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}
