//! A text in every language of the product.

/// A text in English and Spanish.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Words {
    /// English.
    pub en: String,
    /// Spanish.
    pub es: String,
}

impl<E: Into<String>, S: Into<String>> From<(E, S)> for Words {
    fn from((en, es): (E, S)) -> Self {
        Self {
            en: en.into(),
            es: es.into(),
        }
    }
}
