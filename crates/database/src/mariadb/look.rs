//! Everything at once: statements, plans, advice, state.

use super::connection::MariaDb;
use super::digests::Digests;
use super::{advise, health, schema};
use crate::health::Observation;
use anyhow::{Context, Result};
use model::{Gap, Plan, Statement};

/// What was seen.
#[derive(Debug, Default)]
pub struct Look {
    /// `10.11.19-MariaDB`.
    pub version: String,
    pub statements: Vec<Statement>,
    pub plans: Vec<Plan>,
    pub observations: Vec<Observation>,
    pub gaps: Vec<Gap>,
}

impl MariaDb {
    /// Plans and indexes for the statements with most time, and the state of the server. Nothing is written.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn look(&mut self, digests: &Digests, most: usize, tell: &mut dyn FnMut(&str)) -> Result<Look> {
        let mut look = Look { version: self.version.clone(), gaps: digests.gaps.clone(), ..Look::default() };
        tell("reading the schema");
        let schema = schema::read(self).await.context("could not read the schema")?;
        tell("asking for plans");
        advise::advise(self, &schema, digests, most, &mut look).await?;
        tell("looking at the server's state");
        health::look(self, &schema, digests, &mut look).await?;
        look.gaps.sort();
        look.gaps.dedup();
        Ok(look)
    }

    /// How an index is taken from the planner and given back, at once and without a rebuild; `None`: the server is too
    /// old for it.
    #[must_use]
    pub fn hiding(&self) -> Option<(&'static str, &'static str)> {
        hiding(self.is_mariadb(), self.release())
    }
}

fn hiding(is_mariadb: bool, release: (u32, u32)) -> Option<(&'static str, &'static str)> {
    if is_mariadb {
        (release >= (10, 6)).then_some(("IGNORED", "NOT IGNORED"))
    } else {
        (release >= (8, 0)).then_some(("INVISIBLE", "VISIBLE"))
    }
}

#[cfg(test)]
mod tests {
    use super::hiding;

    #[test]
    fn each_server_has_its_word() {
        assert_eq!(hiding(true, (10, 11)).unwrap().0, "IGNORED");
        assert_eq!(hiding(false, (8, 4)).unwrap().0, "INVISIBLE");
        assert_eq!((hiding(true, (10, 5)), hiding(false, (5, 7))), (None, None));
    }
}
