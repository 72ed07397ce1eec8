//! The people of the demo gym. An email address is the local part at `demo.test`; members are `member01`, `member02`
//! and so on.

use crate::auth::Role;

/// The owner: local part and name.
pub const OWNER: (&str, &str) = ("owner", "Olga Ortega");

/// The other staff: local part, name and role.
pub const STAFF: [(&str, &str, Role); 4] = [
    ("manager", "Mario Molina", Role::Manager),
    ("nutritionist", "Nuria Navarro", Role::Nutritionist),
    ("trainer1", "Tomás Torres", Role::Trainer),
    ("trainer2", "Teresa Tejada", Role::Trainer),
];

/// Names of the members. Members with odd numbers have `trainer1` and follow plan A; the others have `trainer2` and
/// follow plan B.
pub const MEMBERS: [&str; 24] = [
    "Ana Aguilar",
    "Bruno Blanco",
    "Carla Castro",
    "Diego Domínguez",
    "Elena Esteban",
    "Fernando Fuentes",
    "Gabriela Gil",
    "Hugo Herrera",
    "Inés Ibáñez",
    "Javier Jiménez",
    "Karen Klein",
    "Lucas León",
    "Marta Marín",
    "Nicolás Núñez",
    "Olivia Ortiz",
    "Pablo Peña",
    "Quique Quintana",
    "Rocío Ramos",
    "Sergio Sanz",
    "Tania Téllez",
    "Ulises Urrutia",
    "Valeria Vega",
    "Wendy Walker",
    "Ximena Yáñez",
];
