//! The values of `${env:NAME}` and `${file:PATH}`, read for each dial.

use std::collections::BTreeMap;

use crate::feed::venue::Venue;
use crate::from_file;
use crate::secrets::Secrets;
use crate::template::{Place, Template};

/// What was read, by the place as it is written.
#[derive(Default)]
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// Reads all that a file needs, and notes it as secret.
    ///
    /// # Errors
    /// The first that is not there, with its key.
    pub(crate) fn read(venue: &Venue, secrets: &Secrets) -> Result<Values, String> {
        let mut values = Values::default();
        for (key, template) in venue.templates() {
            for place in template.places() {
                let read = match place {
                    Place::Env(name) => std::env::var(name).map_err(|err| match err {
                        std::env::VarError::NotPresent => "not set".to_owned(),
                        std::env::VarError::NotUnicode(_) => "not UTF-8".to_owned(),
                    }),
                    Place::File(path) => from_file::line(&format!("@{path}")),
                    Place::Pointer(_) | Place::Name(_) => continue,
                };
                let value = read.map_err(|why| format!("`{key}`: {place}: {why}"))?;
                secrets.note_fleeting(&value);
                values.0.insert(place.to_string(), value);
            }
        }
        Ok(values)
    }

    /// Reads what there is of it, for a replay: it sends nothing, and what is not there is left empty.
    pub(crate) fn of_replay(venue: &Venue, secrets: &Secrets) -> Values {
        Values::read(venue, secrets).unwrap_or_else(|_| {
            let places = venue.templates().flat_map(|(_, template)| template.places());
            let places = places.filter(|place| matches!(place, Place::Env(_) | Place::File(_)));
            Values(places.map(|place| (place.to_string(), String::new())).collect())
        })
    }

    /// Whether a file has anything to read.
    pub(crate) fn has_any(venue: &Venue) -> bool {
        let is_one = |place: &Place| matches!(place, Place::Env(_) | Place::File(_));
        venue.templates().any(|(_, template)| template.places().any(is_one))
    }

    /// Returns the value of a place.
    pub(crate) fn of(&self, place: &Place) -> Option<&str> {
        self.0.get(&place.to_string()).map(String::as_str)
    }

    /// Fills in a text that has nothing else to fill in.
    pub(crate) fn fill(&self, template: &Template) -> Result<String, String> {
        let value = |place: &Place| self.of(place).map(Into::into).ok_or(format!("no {place}"));
        template.fill_with(value)
    }
}
