//! Food search in both languages, insensitive to accents and tolerant of typos, by the trigrams of each word
//! (`pg_trgm`). The shared table has a trigram index; a gym's own foods are few enough to scan.

use std::fmt::Write as _;

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::model::Food;
use super::rules;
use super::store::union;
use crate::ids::GymId;

/// Words of a query that are used; the rest is ignored.
const WORDS: usize = 6;
/// Characters of a word that are used; the rest is ignored.
const WORD_CHARS: usize = 40;
/// The share of a word's trigrams that must match, first attempt: allows a prefix of a word and small slips.
const STRICT: &str = "0.6";
/// The same, second attempt, used where the first finds nothing: allows real typos.
const LENIENT: &str = "0.3";

/// The words of a query, and the same words as one text.
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

/// Foods that match a query, best first. Without letters or digits it matches nothing; a barcode matches its product.
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

/// The query's SQL. Order: names that begin with the whole words as typed; then the sum of the words' similarities;
/// then names that begin with the typed text or with one of its words; then shorter names. The words hold only letters,
/// digits and spaces, so they are safe in a regular expression.
fn ranked(words: usize) -> String {
    let (mut condition, mut score) = (String::new(), String::new());
    for n in 4..4 + words {
        let (and, plus) = if n == 4 { ("", "") } else { (" AND ", " + ") };
        let _ = write!(condition, "{and}search %> ${n}");
        // The first term tolerates an unfinished word; the second separates a typo of one word from the prefix of
        // another.
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
    fn a_query_is_its_first_words_without_punctuation() {
        let words = Words::of("  Pechuga, de (Pollo) a la plancha con limón ");
        assert_eq!(words.words, ["pechuga", "de", "pollo", "a", "la", "plancha"]);
        assert_eq!(words.text, "pechuga de pollo a la plancha");
        assert!(Words::of("?.*'").words.is_empty());
        assert_eq!(Words::of(&"x".repeat(100)).words[0].len(), WORD_CHARS);
    }
}
