//! Configuration in layers: flag, then environment, then file, then default. As typed goes in, as meant comes out, and every
//! fault is kept with its place.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::Context;
use super::failure::{Code, Failure};
use super::files;

/// Where one setting can come from.
pub(super) struct Places {
    /// The flag's name and value.
    pub(super) flag: (&'static str, Option<String>),
    /// The variable's name; empty = none.
    pub(super) env: &'static str,
    /// The field's name and value in the file.
    pub(super) file: (&'static str, Option<String>),
}

/// A setting as typed, and where.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: String,
}

/// Gathers settings and their faults.
pub(super) struct Layers<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    file: Option<PathBuf>,
    pub(super) faults: Vec<String>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(context: &Context<'a>, file: Option<PathBuf>) -> Self {
        Self { env: context.env, file, faults: Vec::new() }
    }

    /// The topmost of the places that say something.
    pub(super) fn given(&self, places: Places) -> Option<Given> {
        let Places { flag, env, file } = places;
        let from_env = || {
            let text = (!env.is_empty()).then(|| (self.env)(env)).flatten()?;
            Some(Given { text, place: env.to_owned() })
        };
        let from_file = || {
            let text = file.1?;
            Some(Given { text, place: self.field(file.0) })
        };
        let from_flag = flag.1.map(|text| Given { text, place: flag.0.to_owned() });
        from_flag.or_else(from_env).or_else(from_file)
    }

    /// How a field of the file is named in faults.
    pub(super) fn field(&self, name: &str) -> String {
        match &self.file {
            Some(path) => format!("{}: {name}", path.display()),
            None => name.to_owned(),
        }
    }

    /// The meaning of a setting, or `None` when it is not given or is a fault.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, given: Option<Given>) -> Option<T> {
        self.parse_by(given, str::parse)
    }

    /// Like [`Self::parse`], for text that means something else here than where its type is at home.
    pub(super) fn parse_by<T, E: Display>(
        &mut self,
        given: Option<Given>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let given = given?;
        match read(&given.text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults.push(format!("{}: {error}", given.place));
                None
            }
        }
    }

    /// Like [`Self::parse`], with a default as it would be typed.
    pub(super) fn parse_or<T: FromStr<Err: Display>>(&mut self, given: Option<Given>, default: &str) -> Option<T> {
        let given = given.unwrap_or_else(|| Given { text: default.to_owned(), place: "default".to_owned() });
        self.parse(Some(given))
    }

    /// Like [`Self::parse`] for what must be given.
    pub(super) fn required<T: FromStr<Err: Display>>(&mut self, given: Option<Given>, how: &str) -> Option<T> {
        if given.is_none() {
            self.faults.push(how.to_owned());
        }
        self.parse(given)
    }

    /// What was read elsewhere, with its failure kept as a fault.
    pub(super) fn noted<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.faults.push(failure.to_string())).ok()
    }

    /// The settings, if nothing was wrong with them. `None` without a fault cannot be: each absence made one.
    pub(super) fn finish<T>(self, settings: Option<T>) -> Result<T, Failure> {
        match settings {
            Some(settings) if self.faults.is_empty() => Ok(settings),
            _ => Err(Failure::usage(&self.faults)),
        }
    }
}

/// Reads a configuration file; one that was named must be there.
pub(super) fn read_file<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, Failure> {
    let Some(path) = path else { return Ok(T::default()) };
    let place = path.display();
    let text = files::read(path)
        .map_err(|error| Failure::because(Code::Failed, error, format!("cannot read the configuration {place}")))?;
    parse_file(path, &text)
}

/// Reads the text of a configuration file. An empty one says nothing.
pub(super) fn parse_file<T: DeserializeOwned + Default>(path: &Path, text: &str) -> Result<T, Failure> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    serde_saphyr::from_str_with_options::<Option<T>>(text, options)
        .map(Option::unwrap_or_default)
        .map_err(|error| Failure::new(Code::Usage, format!("{}: {}", path.display(), error.without_snippet())))
}
