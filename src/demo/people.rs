//! Who is in the demo gym. Addresses are the local part at `demo.test`; members are `member01` and so on.

use crate::auth::Role;

/// The owner: address and name.
pub const OWNER: (&str, &str) = ("owner", "Olga Ortega");

/// Everybody else who works there.
pub const STAFF: [(&str, &str, Role); 4] = [
    ("manager", "Mario Molina", Role::Manager),
    ("nutritionist", "Nuria Navarro", Role::Nutritionist),
    ("trainer1", "Tomás Torres", Role::Trainer),
    ("trainer2", "Teresa Tejada", Role::Trainer),
];

/// Members; those with odd numbers are `trainer1`'s and follow plan A, the others are `trainer2`'s and follow plan B.
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
