//! Search in both languages, without accents and forgiving typos: trigrams of each word (`pg_trgm`). The shared table has a
//! trigram index; a gym's own foods are few.

use std::fmt::Write as _;

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::model::Food;
use super::rules;
use super::store::union;
use crate::ids::GymId;

/// Words of a query that count.
const WORDS: usize = 6;
/// Characters of a word that count.
const WORD_CHARS: usize = 40;
/// How much of a word's trigrams must be there: enough for a beginning of a word and small slips …
const STRICT: &str = "0.6";
/// … and where nothing has as much, for real typos.
const LENIENT: &str = "0.3";

/// The words of a query, and as one text.
struct Words {
    text: String,
    words: Vec<String>,
}

impl Words {
    fn of(query: &str) -> Self {
        let normal = rules::search_text(query);
        let short = |word: &str| word.chars().take(WORD_CHARS).collect();
        let words: Vec<String> = normal
            .split(' ')
            .filter(|w| !w.is_empty())
            .take(WORDS)
            .map(short)
            .collect();
        Self {
            text: words.join(" "),
            words,
        }
    }
}

/// Foods that a query finds, best first; none for a query without letters or digits. A barcode finds its product.
pub async fn search(conn: &mut AsyncPgConnection, gym: GymId, query: &str, limit: i64) -> QueryResult<Vec<Food>> {
    let digits = query.trim();
    if rules::is_gtin(digits) {
        return by_barcode(conn, gym, digits, limit).await;
    }
    let words = Words::of(query);
    if words.words.is_empty() {
        return Ok(Vec::new());
    }
    let found = by_words(conn, gym, &words, STRICT, limit).await?;
    if found.is_empty() {
        by_words(conn, gym, &words, LENIENT, limit).await
    } else {
        Ok(found)
    }
}

async fn by_barcode(conn: &mut AsyncPgConnection, gym: GymId, gtin: &str, limit: i64) -> QueryResult<Vec<Food>> {
    diesel::sql_query(format!("{} ORDER BY scope, id LIMIT $3", union("barcode = ANY($2)")))
        .bind::<SqlUuid, _>(gym)
        .bind::<Array<Text>, _>(rules::gtin_spellings(gtin))
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}

async fn by_words(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    words: &Words,
    threshold: &str,
    limit: i64,
) -> QueryResult<Vec<Food>> {
    diesel::sql_query("SELECT set_config('pg_trgm.word_similarity_threshold', $1, true)")
        .bind::<Text, _>(threshold)
        .execute(conn)
        .await?;
    let mut query = diesel::sql_query(ranked(words.words.len()))
        .into_boxed()
        .bind::<SqlUuid, _>(gym)
        .bind::<Text, _>(&words.text)
        .bind::<BigInt, _>(limit);
    for word in &words.words {
        query = query.bind::<Text, _>(word);
    }
    query.load(conn).await
}

/// Best first: a name that begins with the words as typed and whole, then by how well each word is found, then a name that
/// begins with them or with one of them, then the shorter one. The words are letters, digits and spaces only, so that
/// they are safe in a pattern.
fn ranked(words: usize) -> String {
    let (mut condition, mut score) = (String::new(), String::new());
    for n in 4..4 + words {
        let (and, plus) = if n == 4 { ("", "") } else { (" AND ", " + ") };
        let _ = write!(condition, "{and}search %> ${n}");
        // The first forgives a word that is not finished, the second tells a typo of one word from the beginning of another.
        let _ = write!(
            score,
            "{plus}word_similarity(${n}, search) + strict_word_similarity(${n}, search)"
        );
    }
    format!(
        "SELECT * FROM ({}) AS found
         ORDER BY search ~ ('(^|\\n)' || $2 || '\\M') DESC, round(({score})::numeric, 3) DESC,
                  search ~ ('(^|\\n)' || $2) DESC,
                  search ~ ('(^|\\n)(' || replace($2, ' ', '|') || ')') DESC, length(search), id
         LIMIT $3",
        union(&condition)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_its_first_words_without_signs() {
        let words = Words::of("  Pechuga, de (Pollo) a la plancha con limón ");
        assert_eq!(words.words, ["pechuga", "de", "pollo", "a", "la", "plancha"]);
        assert_eq!(words.text, "pechuga de pollo a la plancha");
        assert!(Words::of("?.*'").words.is_empty());
        assert_eq!(Words::of(&"x".repeat(100)).words[0].len(), WORD_CHARS);
    }
}
