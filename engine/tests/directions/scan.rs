//! What a source file names: every path, resolved, outside of code that is only compiled for tests.
//!
//! The compiler's own tokens are read (comments and strings are gone, groups are nested), so that grouped, nested,
//! renamed and relative imports are all seen, as are paths written in place and inside of macros.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, LexError, TokenStream, TokenTree};

/// Something named in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// `crate::…`, `std::…` (also for core and alloc) or the name of a dependency with what follows.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
}

/// What was found in a file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// All paths that lead out of the file.
    pub(crate) named: Vec<Named>,
    /// Where `unsafe` is written, or allowed; tests included.
    pub(crate) unsafe_lines: Vec<usize>,
    /// Modules in files of their own that are compiled for tests only.
    pub(crate) test_modules: Vec<String>,
    /// Lines, those of tests left out.
    pub(crate) lines: usize,
}

/// Reads a file. `module` is its place in the crate, such as `["feed", "gap"]`; `crates` are the names that stand for
/// dependencies.
pub(crate) fn scan(text: &str, module: &[&str], crates: &[String]) -> Result<Source, LexError> {
    let tokens: Vec<TokenTree> = text.parse::<TokenStream>()?.into_iter().collect();
    let mut scan = Scan {
        crates,
        module: module.iter().map(|&part| part.to_owned()).collect(),
        aliases: BTreeMap::new(),
        source: Source { lines: text.lines().count(), ..Source::default() },
        collecting: true,
    };
    // Once for what the imports call things, once for everything.
    scan.walk(&tokens);
    scan.collecting = false;
    scan.walk(&tokens);
    scan.find_unsafe(&tokens);
    Ok(scan.source)
}

struct Scan<'a> {
    crates: &'a [String],
    module: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    source: Source,
    collecting: bool,
}

impl Scan<'_> {
    fn walk(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(tokens, at),
                TokenTree::Ident(word) if word == "use" => self.import(tokens, at + 1),
                TokenTree::Ident(word) if word == "mod" => self.module(tokens, at + 1),
                TokenTree::Ident(_) => self.path(tokens, at),
                TokenTree::Group(group) => {
                    self.walk(&trees(group));
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// An attribute; with the whole item when that is for tests only.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let inner = is_punct(tokens.get(at + 1), '!');
        let body = at + 1 + usize::from(inner);
        let Some(TokenTree::Group(group)) = tokens.get(body) else { return at + 1 };
        let parts = trees(group);
        let for_tests = match &parts[..] {
            [TokenTree::Ident(word), TokenTree::Group(condition)] if word == "cfg" => {
                needs_test(&trees(condition))
            }
            _ => false,
        };
        if !for_tests {
            self.walk(&parts);
            return body + 1;
        }
        let end = if inner { tokens.len() } else { self.end_of_item(tokens, body + 1) };
        if !self.collecting
            && let Some(last) = tokens.get(end - 1)
        {
            self.source.lines -= last.span().end().line + 1 - tokens[at].span().start().line;
        }
        end
    }

    /// Where the item (or field, variant, arm) that starts at `at` ends.
    fn end_of_item(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        const ITEMS: [&str; 14] = [
            "fn", "mod", "use", "struct", "enum", "union", "impl", "const", "static", "type", "trait",
            "unsafe", "async", "extern",
        ];
        while is_punct(tokens.get(at), '#') {
            at += 2;
        }
        if word(tokens.get(at)) == Some("pub".into()) {
            at += 1;
            let restricted = |group: &Group| group.delimiter() == Delimiter::Parenthesis;
            at += usize::from(matches!(tokens.get(at), Some(TokenTree::Group(group)) if restricted(group)));
        }
        let is_item = word(tokens.get(at)).is_some_and(|word| ITEMS.contains(&word.as_str()));
        if word(tokens.get(at)) == Some("mod".into()) && is_punct(tokens.get(at + 2), ';') && !self.collecting
        {
            self.source.test_modules.extend(word(tokens.get(at + 1)));
        }
        let ends = |token: &TokenTree| match token {
            TokenTree::Group(group) => is_item && group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == if is_item { ';' } else { ',' },
            _ => false,
        };
        tokens[at..].iter().position(ends).map_or(tokens.len(), |offset| at + offset + 1)
    }

    fn module(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        if let (Some(name), Some(TokenTree::Group(group))) = (word(tokens.get(at)), tokens.get(at + 1)) {
            self.module.push(name);
            self.walk(&trees(group));
            self.module.pop();
            return at + 2;
        }
        at
    }

    fn import(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let length =
            tokens[at..].iter().position(|token| is_punct(Some(token), ';')).unwrap_or(tokens.len() - at);
        self.tree(&tokens[at..at + length], &[]);
        at + length
    }

    /// One tree of an import: a path that ends in a name, a new name, a star or a group of trees.
    fn tree(&mut self, tokens: &[TokenTree], prefix: &[String]) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    alias = self::word(tokens.get(at + 1));
                    break;
                }
                TokenTree::Ident(word) if word == "self" && !prefix.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".into()),
                TokenTree::Group(group) => {
                    let trees = trees(group);
                    trees.split(|token| is_punct(Some(token), ',')).for_each(|tree| self.tree(tree, &path));
                    return;
                }
                _ => {}
            }
            at += 1;
        }
        let (Some(first), Some(last)) = (tokens.first(), path.last().cloned()) else { return };
        let Some(resolved) = self.resolve(&path) else { return };
        if self.collecting {
            self.aliases.insert(alias.unwrap_or(last), resolved);
        } else {
            self.add(&resolved, first.span().start().line);
        }
    }

    /// A path written in place.
    fn path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let mut path: Vec<String> = word(tokens.get(at)).into_iter().collect();
        let mut end = at + 1;
        while is_punct(tokens.get(end), ':')
            && is_punct(tokens.get(end + 1), ':')
            && let Some(part) = word(tokens.get(end + 2))
        {
            path.push(part);
            end += 3;
        }
        if path.len() > 1
            && !self.collecting
            && let Some(resolved) = self.resolve(&path)
        {
            self.add(&resolved, tokens[at].span().start().line);
        }
        end
    }

    fn add(&mut self, path: &[String], line: usize) {
        if path.len() > 1 {
            self.source.named.push(Named { path: path.join("::"), line });
        }
    }

    /// The path from the crate's root, from std or from a dependency; none for what is local.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let (root, rest) = path.split_first()?;
        let mut resolved = match root.as_str() {
            "crate" => vec!["crate".into()],
            "std" | "core" | "alloc" => vec!["std".into()],
            "self" | "super" => {
                let supers = path.iter().take_while(|part| *part == "super").count();
                let kept = self.module.len().saturating_sub(supers);
                let rest = path.iter().skip_while(|part| *part == "super" || *part == "self");
                let module = self.module[..kept].iter();
                return Some(["crate".into()].iter().chain(module).chain(rest).cloned().collect());
            }
            name if self.aliases.contains_key(name) && !self.collecting => self.aliases[name].clone(),
            name if self.crates.iter().any(|known| known == name) => vec![name.into()],
            _ => return None,
        };
        resolved.extend(rest.iter().cloned());
        Some(resolved)
    }

    fn find_unsafe(&mut self, tokens: &[TokenTree]) {
        for token in tokens {
            match token {
                TokenTree::Ident(word) if word == "unsafe" || word == "unsafe_code" => {
                    self.source.unsafe_lines.push(word.span().start().line);
                }
                TokenTree::Group(group) => self.find_unsafe(&trees(group)),
                _ => {}
            }
        }
    }
}

fn trees(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether a condition of `cfg` holds in tests only.
fn needs_test(condition: &[TokenTree]) -> bool {
    match condition {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(group)] => {
            let inner = trees(group);
            let mut parts = inner.split(|token| is_punct(Some(token), ',')).filter(|part| !part.is_empty());
            match word.to_string().as_str() {
                "all" => parts.any(needs_test),
                "any" => parts.all(needs_test),
                _ => false,
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        scan(text, &["feed", "gap"], &["seqcast_wire".into(), "socket2".into()]).unwrap()
    }

    fn paths(text: &str) -> Vec<String> {
        source(text).named.into_iter().map(|named| named.path).collect()
    }

    #[test]
    fn plain_grouped_nested_and_star_imports() {
        assert_eq!(paths("use crate::io::Driver;"), ["crate::io::Driver"]);
        assert_eq!(
            paths("pub(crate) use crate::{time::Nanos, io::{self, udp::*}};"),
            ["crate::time::Nanos", "crate::io", "crate::io::udp::*"]
        );
        assert_eq!(
            paths("use ::std::{fs, sync::{Arc, Mutex as Lock}};"),
            ["std::fs", "std::sync::Arc", "std::sync::Mutex"]
        );
        assert_eq!(paths("use seqcast_wire::SeqNo; use local::Thing;"), ["seqcast_wire::SeqNo"]);
    }

    #[test]
    fn relative_imports_are_resolved() {
        assert_eq!(paths("use super::super::io;"), ["crate::io"]);
        assert_eq!(paths("use super::stash::Stash;"), ["crate::feed::stash::Stash"]);
        assert_eq!(paths("use self::inner::X;"), ["crate::feed::gap::inner::X"]);
        assert_eq!(paths("mod inner { use super::super::super::io::Driver; }"), ["crate::io::Driver"]);
        assert_eq!(paths("mod a { mod b {} } use super::x;"), ["crate::feed::x"]);
    }

    #[test]
    fn paths_in_place_in_types_bodies_macros_and_attributes() {
        assert_eq!(
            paths("fn f(x: crate::io::Busy) -> std::fs::File { todo() }"),
            ["crate::io::Busy", "std::fs::File"]
        );
        assert_eq!(paths("fn f() { vec![std::thread::spawn::<F, T>(g)]; }"), ["std::thread::spawn"]);
        assert_eq!(paths("fn f() { assert!(now < std::time::Instant::now()) }"), ["std::time::Instant::now"]);
        assert_eq!(paths("#[derive(std::fmt::Debug)] struct S;"), ["std::fmt::Debug"]);
        assert_eq!(paths("macro_rules! m { () => { $crate::io::X } }"), ["crate::io::X"]);
        assert_eq!(
            paths("impl crate::io::Driver for X<{ core::mem::size_of::<u8>() }> {}"),
            ["crate::io::Driver", "std::mem::size_of"]
        );
    }

    #[test]
    fn what_an_import_renames_is_followed() {
        let text =
            "use std::sync; use std::time as clock; fn f(m: sync::Mutex<u8>) { clock::Instant::now() }";
        assert_eq!(paths(text), ["std::sync", "std::time", "std::sync::Mutex", "std::time::Instant::now"]);
        assert_eq!(paths("use crate as root; fn f() { root::io::x() }"), ["crate::io::x"]);
    }

    #[test]
    fn comments_strings_and_local_names_are_nothing() {
        let text = "//! crate::io\n/// std::fs::File\nfn f<'a>() { \"crate::io::X\"; 'x'; /* std::fs::File */ Kind::A; u64::MAX; }";
        assert_eq!(paths(text), Vec::<String>::new());
    }

    #[test]
    fn code_for_tests_only_is_left_out_and_not_counted() {
        let text = "\
use crate::time::Nanos;
#[cfg(test)]
#[allow(unused)]
mod tests {
    use std::fs::File;
}
#[cfg(all(test, not(loom)))]
pub(crate) mod testing;
struct S {
    #[cfg(test)]
    seen: std::sync::Mutex<u8>,
    kept: crate::mem::Region,
}
#[cfg(test)]
use std::thread;
fn f() { std::mem::drop(1) }
";
        let source = source(text);
        let paths: Vec<&str> = source.named.iter().map(|named| named.path.as_str()).collect();
        assert_eq!(paths, ["crate::time::Nanos", "crate::mem::Region", "std::mem::drop"]);
        assert_eq!(source.test_modules, ["testing"]);
        assert_eq!((source.lines, source.named[2].line), (16 - 5 - 2 - 2 - 2, 16));
    }

    #[test]
    fn conditions_that_hold_outside_of_tests_are_read() {
        for condition in ["not(test)", "any(test, feature = \"sim\")", "loom", "all(unix, not(test))"] {
            let text = format!("#[cfg({condition})] use crate::io::X;");
            assert_eq!(paths(&text), ["crate::io::X"], "{condition}");
        }
        for condition in ["test", "all(test, unix)", "any(test, all(test, unix))"] {
            let text = format!("#[cfg({condition})] use crate::io::X;");
            assert_eq!(paths(&text), Vec::<String>::new(), "{condition}");
        }
        assert_eq!(paths("#![cfg(test)]\nuse crate::io::X;"), Vec::<String>::new());
    }

    #[test]
    fn unsafe_is_found_everywhere() {
        let text =
            "#![allow(unsafe_code)]\nfn f() {\n m!(unsafe { g() });\n}\n#[cfg(test)]\nunsafe fn h() {}\n";
        assert_eq!(source(text).unsafe_lines, [1, 3, 6]);
        assert!(source("// unsafe\nfn f() { \"unsafe\" }").unsafe_lines.is_empty());
    }

    #[test]
    fn text_that_is_no_rust_is_refused() {
        assert!(scan("fn f( {", &[], &[]).is_err());
    }
}
