//! The query string of a request.

use knarr_resource::Status;

/// Decoded parameters in the order sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of a parameter, if it is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// Every value of a parameter, empty ones included.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A boolean as Kubernetes reads it: present and neither `false` nor `0` is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| !matches!(value.as_str(), "false" | "0" | "False"))
    }

    /// A number, or 400.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid value for {name:?}"
                ))
            }),
        }
    }

    /// Whether nothing is to be stored; [`super::options`] has refused what is neither this nor nothing.
    pub(crate) fn dry_run(&self) -> bool {
        self.all("dryRun").any(|value| value == "All")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_empty_ones_count_as_absent() {
        let query = Query::parse("labelSelector=a%3Db+c&watch&limit=&follow=false&command=a&command=b&n=x");
        assert_eq!(query.get("labelSelector"), Some("a=b c"));
        assert!(query.flag("watch") && !query.flag("follow") && !query.flag("other"));
        assert_eq!(query.number::<u64>("limit").unwrap(), None);
        assert!(query.number::<u64>("n").is_err());
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["a", "b"]);
        assert!(Query::parse("dryRun=All").dry_run());
    }
}
