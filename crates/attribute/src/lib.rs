//! Which endpoint costs what, without touching the service: the requests of each endpoint in windows of a load whose mix
//! varies, against the growth of any counter in the same windows (statements of a database, commands of a cache, CPU,
//! bytes). Pure: it measures nothing, and what the windows cannot tell apart it says instead of guessing.

mod costs;
mod design;
mod fit;
mod mix;
mod solve;
mod stacks;
mod statements;

pub use costs::{Counter, costs};
pub use design::{MAX_WINDOWS, Planned, plan};
pub use fit::Regression;
pub use mix::{Mix, Timed, Window, varied};
pub use model::{Attribution, Rate, StatementCost};
pub use stacks::divide;
pub use statements::{StatementCosts, statements};
