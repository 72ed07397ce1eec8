//! The languages of the product, and texts in both of them.

/// A language of the product's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    En,
    /// Spanish.
    Es,
}

impl Lang {
    /// Returns the language that an `Accept-Language` header prefers; English if the header names neither.
    #[must_use]
    pub fn accepted(header: Option<&str>) -> Self {
        let mut best = (0.0_f32, Self::En);
        for part in header.unwrap_or_default().split(',') {
            let mut pieces = part.trim().split(';');
            let tag = pieces.next().unwrap_or_default().to_ascii_lowercase();
            let quality = pieces
                .find_map(|p| p.trim().strip_prefix("q=").and_then(|q| q.parse().ok()))
                .unwrap_or(1.0);
            let lang = match tag.split('-').next() {
                Some("es") => Self::Es,
                Some("en") => Self::En,
                _ => continue,
            };
            if quality > best.0 {
                best = (quality, lang);
            }
        }
        best.1
    }

    /// The language tag, as the database stores it.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
        }
    }
}

/// A text in both languages, for a placeholder of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Said {
    /// English.
    pub en: String,
    /// Spanish.
    pub es: String,
}

impl Said {
    /// The text in one language.
    #[must_use]
    pub fn in_lang(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Es => &self.es,
        }
    }
}

impl<E: Into<String>, S: Into<String>> From<(E, S)> for Said {
    fn from((en, es): (E, S)) -> Self {
        Self {
            en: en.into(),
            es: es.into(),
        }
    }
}

impl From<liveplan_nutrition::Words> for Said {
    fn from(words: liveplan_nutrition::Words) -> Self {
        Self {
            en: words.en,
            es: words.es,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_language_wins() {
        assert_eq!(Lang::accepted(Some("en;q=0.5, es-MX")), Lang::Es);
        assert_eq!(Lang::accepted(Some("fr, en;q=0.2, es;q=0.1")), Lang::En);
        assert_eq!(Lang::accepted(None), Lang::En);
    }
}
