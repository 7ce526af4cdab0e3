//! Days since 1970 as a date of the civil calendar; no time zones, no text.

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// From 1970 on.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
}

impl Date {
    /// The date of a day counted from 1970-01-01.
    pub fn of_unix_day(unix_day: u64) -> Date {
        // Counted from 1 March of year 0, so that the leap day ends a year; 146097 days make 400 years.
        let shifted = unix_day + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Date {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_the_ends_of_years() {
        for (unix_day, year, month, day) in [
            (0, 1970, 1, 1),
            (58, 1970, 2, 28),
            (59, 1970, 3, 1),
            (364, 1970, 12, 31),
            (11_015, 2000, 2, 28),
            (11_016, 2000, 2, 29),
            (11_017, 2000, 3, 1),
            (47_482, 2100, 1, 1),
            (47_540, 2100, 2, 28),
            (47_541, 2100, 3, 1),
        ] {
            assert_eq!(Date::of_unix_day(unix_day), Date { year, month, day }, "{unix_day}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = Date::of_unix_day(0);
        for unix_day in 1..200_000 {
            let date = Date::of_unix_day(unix_day);
            let next = Date { day: before.day + 1, ..before };
            let next_month = Date { month: before.month + 1, day: 1, ..before };
            let next_year = Date { year: before.year + 1, month: 1, day: 1 };
            assert!([next, next_month, next_year].contains(&date), "{unix_day}: {before:?} then {date:?}");
            before = date;
        }
    }
}
