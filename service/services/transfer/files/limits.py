"""How much of a file is read at most, so that none can fill the memory or the disk.

Sizes are in bytes of what a file becomes when it is unpacked, unless it says otherwise.
"""

UNPACKED = 4 << 30  # of a text that is not read as it comes, or was compressed
IN_MEMORY = 8 << 20  # of what waits in a temporary file; beyond that it goes to the disk

# For a workbook:
WORKBOOK = 256 << 20  # of the file as it is
MEMBERS = 2_000  # files in it
DIRECTORY = 1 << 20  # of the list of them
WORKBOOK_UNPACKED = 2 << 30
RATIO = 250  # of unpacked to packed; real sheets have 5 to 20, of equal rows up to 150
ANY_RATIO = 4 << 20  # of a file in it, up to which the ratio does not matter
SMALL_PART = 16 << 20  # of the lists of sheets, styles and relations
STRINGS = 2_000_000  # texts that cells share: they are in memory
STRINGS_TEXT = 128 << 20  # characters of them
CELL = 32_767  # characters, as in a spreadsheet
MERGED = 200_000  # ranges of cells
ROWS = 1_048_576  # as in a spreadsheet
COLUMNS = 16_384  # as in a spreadsheet
WITHOUT_ELEMENT = 1 << 20  # of XML in which no element begins or ends
