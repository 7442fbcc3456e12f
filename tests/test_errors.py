"""What a failure of the station's own says, and how it travels between processes."""

from autoenvbench.errors import StationFault, error_of


def test_a_fault_of_the_station_says_whose_it_is_and_where_it_lies():
    try:
        [][3]
    except IndexError as error:
        fault = StationFault.of(error)
    assert "no fault of yours: IndexError: list index out of range at test_errors.py:" in str(fault)
    again = error_of(fault.exit_code, str(fault))  # as another process tells of it
    assert type(again) is StationFault
    assert StationFault.of(again) is again  # said once, however many processes it passes
